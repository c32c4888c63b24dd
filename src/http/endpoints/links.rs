//! `/links`: the links to other brokers, what waits for them, and their end.
//!
//! No request sends a message. `sluice link check` needs the files of the login, so it has no route. Links
//! serve all tenants: a caller that is bound to one sees only what links did not accept of it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tenants::TenantPath;
use crate::clock;
use crate::disk;
use crate::domain::link::LinkName;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::Param;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::dead_letters::TenantLinkView;
use crate::link::overview::LinkOverview;
use crate::link::settings::LinkSet;
use crate::link::{file, overview};
use crate::store::links::forget::{Forgetting, forget as forget_link, would_forget};
use crate::store::links::refill_range::{RefillRange, count_range, refill_range};
use crate::store::links::refused_detail;

/// The longest period of a refill, in seconds: the time of a request is limited.
const REFILL_SECONDS_MAX: f64 = 86_400.0;

/// The path of a link.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LinkPath {
    /// The name of the link.
    pub(super) name: Param<LinkName>,
}

/// The period to send again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefillOrder {
    /// Messages that Sluice received at this time or later.
    since: Param<Timestamp>,
    /// Messages that Sluice received before this time; the default is now. At most a day after `since`.
    until: Option<Param<Timestamp>>,
    /// Report what would be queued, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What a refill has queued.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RefilledPeriod {
    /// The number of messages.
    pub(crate) messages: u64,
    /// Their bytes: payload, topic and 100 for each message.
    pub(crate) bytes: u64,
    /// When Sluice received the first of them.
    pub(crate) first: Option<DateTime<Utc>>,
    /// When Sluice received the last of them.
    pub(crate) last: Option<DateTime<Utc>>,
    /// False after a dry run, which only counts.
    pub(crate) queued: bool,
}

/// Whether to change anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetParams {
    /// `true`: report what would be deleted, and change nothing.
    dry_run: Option<Param<bool>>,
}

/// What belonged to a link.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ForgottenLink {
    /// The messages that waited.
    pub(crate) messages: i64,
    /// The messages of its gap; their telemetry rows stay.
    pub(crate) gap_messages: i64,
    /// The messages that it did not accept.
    pub(crate) refused: i64,
    /// False after a dry run, which only counts.
    pub(crate) forgotten: bool,
}

pub(crate) async fn list(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<Vec<LinkOverview>>, Problem> {
    Ok(OkJson(overview::list(&api.database).await?))
}

pub(crate) async fn show(
    api: Api,
    call: Call<LinkPath, NoParams, NoBody>,
) -> Result<OkJson<LinkOverview>, Problem> {
    let Param(name) = call.path.name;
    let links = overview::list(&api.database).await?;
    let found = links.into_iter().find(|link| link.link == name.as_str());
    found.map(OkJson).ok_or_else(|| no_link(&name))
}

pub(crate) async fn of_tenant(
    api: Api,
    call: Call<TenantPath, NoParams, NoBody>,
) -> Result<OkJson<Vec<TenantLinkView>>, Problem> {
    let Param(tenant) = call.path.tenant;
    let rows = refused_detail::of_tenant(api.database.pool(), &tenant).await?;
    Ok(OkJson(rows.into_iter().map(TenantLinkView::from).collect()))
}

pub(crate) async fn forget(
    api: Api,
    call: Call<LinkPath, ForgetParams, NoBody>,
) -> Result<OkJson<ForgottenLink>, Problem> {
    let Param(name) = call.path.name;
    let is_dry = call.query.dry_run.is_some_and(|Param(is_dry)| is_dry);
    if links_file(&api).await?.is_some_and(|set| set.find(name.as_str()).is_some()) {
        return Err(Problem::conflict(format!(
            "link {name} is in the links file: remove it there first"
        )));
    }
    let pool = api.database.pool();
    let done = if is_dry {
        would_forget(pool, &name).await?
    } else {
        forget_link(pool, &api.actor, &name).await?
    };
    match done {
        Forgetting::Done(remains) => Ok(OkJson(ForgottenLink {
            messages: remains.messages,
            gap_messages: remains.gap_messages,
            refused: remains.refused,
            forgotten: !is_dry,
        })),
        Forgetting::Unknown => Err(no_link(&name)),
        Forgetting::Claimed => Err(Problem::conflict(format!(
            "a daemon sends over link {name}: remove the link from its links file and reload it first"
        ))),
        Forgetting::Reported(replica) => Err(Problem::conflict(format!(
            "the daemon {replica:?} has reported link {name} within the last minute: remove the link from its links \
             file and reload it; if it has ended, send the request again in a minute"
        ))),
    }
}

pub(crate) async fn refill(
    api: Api,
    call: Call<LinkPath, NoParams, Json<RefillOrder>>,
) -> Result<OkJson<RefilledPeriod>, Problem> {
    let (Param(name), Json(order)) = (call.path.name, call.body);
    let Param(since) = order.since;
    let until = order.until.map_or_else(clock::now, |Param(until)| until);
    let seconds = until.seconds_since(since);
    if seconds <= 0.0 || seconds > REFILL_SECONDS_MAX {
        return Err(Problem::field(
            "since",
            "expected a time before `until`, and at most a day before it",
        ));
    }
    let Some(set) = links_file(&api).await? else {
        return Err(no_links("LINKS_PATH is not set: this daemon has no links"));
    };
    let routes = set.plan().links.into_iter().find(|routes| routes.link == name);
    let routes = routes.ok_or_else(|| no_link(&name))?;
    let (pool, range) = (api.database.pool(), RefillRange { since, until });
    let sums = if order.dry_run {
        count_range(pool, &routes, range).await?
    } else {
        refill_range(pool, &api.actor, &routes, range).await?
    };
    let (messages, bytes) = (sums.messages, sums.bytes);
    let queued = !order.dry_run;
    Ok(OkJson(RefilledPeriod { messages, bytes, first: sums.first, last: sums.last, queued }))
}

// === private helpers ===

/// The links file as it is now; `None`: there is none.
pub(super) async fn links_file(api: &Api) -> Result<Option<LinkSet>, Problem> {
    let Some(path) = api.config.links.path.clone() else { return Ok(None) };
    let own = path.clone();
    let read = disk::run(&path, move || file::load(&own)).await;
    let set = read.map_err(|error| no_links(error.to_string()))?;
    set.map(Some).map_err(|error| no_links(error.to_string()))
}

fn no_links(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::NotSetUp, detail)
}

pub(super) fn no_link(name: &LinkName) -> Problem {
    Problem::not_found(format!("link {name} not found: `GET /api/v1/links` lists all links"))
}
