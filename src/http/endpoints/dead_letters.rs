//! `/links/{name}/refused`: the messages that a link did not accept.
//!
//! A retried message waits in the outbox again; no request sends one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::LinkPath;
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::outbox::DeadLetterCause;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::dead_letters::{DeadLetterSummaryView, DeadLetterView};
use crate::store::links::refused::{
    DeadLetter, RefusedFilter, RefusedPlace, discard_refused, list_refused, retry_refused,
};
use crate::store::links::refused_detail;

/// The most messages that one request retries: the time of a request is limited.
const RETRY_MAX: u32 = 10_000;

/// The most identifiers in one request.
const IDS_MAX: usize = 1000;

/// The path of a refused message.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DeadLetterPath {
    /// The name of the link.
    name: Param<LinkName>,
    /// The identifier of the message.
    id: Param<i64>,
}

/// The page and the filters of refused messages.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefusedPageParams {
    /// Only messages of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only messages of this device.
    device: Option<Param<DeviceId>>,
    /// Only messages that were refused for this reason.
    reason: Option<Param<DeadLetterCause>>,
    /// Only messages that were refused at this time or later.
    since: Option<Param<Timestamp>>,
    /// Only messages that were refused before this time.
    until: Option<Param<Timestamp>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<RefusedPlace>>,
}

/// The refused messages of the link to retry. Send at least one condition, or only `all`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryOrder {
    /// The identifiers of messages, at most 1000.
    #[serde(default)]
    ids: Vec<i64>,
    /// Only messages of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only messages of this device.
    device: Option<Param<DeviceId>>,
    /// Only messages that were refused for this reason.
    reason: Option<Param<DeadLetterCause>>,
    /// Only messages that were refused at this time or later.
    since: Option<Param<Timestamp>>,
    /// Only messages that were refused before this time.
    until: Option<Param<Timestamp>>,
    /// All refused messages of the link; without any other condition.
    #[serde(default)]
    all: bool,
    /// Report how many messages would be queued, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// The number of messages that were queued.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct QueuedAgain {
    /// The number of messages.
    pub(crate) messages: u64,
    /// False after a dry run, which only counts.
    pub(crate) queued: bool,
}

/// The number of messages that were deleted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DiscardedLetters {
    /// The number of messages.
    pub(crate) messages: u64,
}

pub(crate) async fn list(
    api: Api,
    call: Call<LinkPath, RefusedPageParams, NoBody>,
) -> Result<OkJson<Page<DeadLetterSummaryView>>, Problem> {
    let (Param(name), query) = (call.path.name, call.query);
    let Param(Limit(limit)) = query.limit;
    let before = query.cursor.as_ref().map(|Param(place)| place.clone());
    let filter = query.filter(name);
    let fetched = Page::<DeadLetterSummaryView>::fetch(limit);
    let rows = list_refused(api.database.pool(), &filter, before.as_ref(), fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last: &DeadLetter| last.place().to_string())))
}

pub(crate) async fn show(
    api: Api,
    call: Call<DeadLetterPath, NoParams, NoBody>,
) -> Result<OkJson<DeadLetterView>, Problem> {
    let (Param(name), Param(id)) = (call.path.name, call.path.id);
    let found = refused_detail::find(api.database.pool(), &name, id).await?;
    found.map(|row| OkJson(row.into())).ok_or_else(|| Problem::no_dead_letter(&name, id))
}

pub(crate) async fn discard_one(
    api: Api,
    call: Call<DeadLetterPath, NoParams, NoBody>,
) -> Result<OkJson<DiscardedLetters>, Problem> {
    let (Param(name), Param(id)) = (call.path.name, call.path.id);
    let filter =
        RefusedFilter { link: Some(name.clone()), ids: vec![id], ..RefusedFilter::default() };
    match discard_refused(api.database.pool(), &api.actor, &filter, 1).await? {
        0 => Err(Problem::no_dead_letter(&name, id)),
        messages => Ok(OkJson(DiscardedLetters { messages })),
    }
}

pub(crate) async fn retry(
    api: Api,
    call: Call<LinkPath, NoParams, Json<RetryOrder>>,
) -> Result<OkJson<QueuedAgain>, Problem> {
    let (Param(name), Json(order)) = (call.path.name, call.body);
    let filter = order.filter(name)?;
    let pool = api.database.pool();
    let messages = if order.dry_run {
        refused_detail::count(pool, &filter).await?
    } else {
        retry_refused(pool, &api.actor, &filter, RETRY_MAX).await?
    };
    Ok(OkJson(QueuedAgain { messages, queued: !order.dry_run }))
}

// === impl RefusedPageParams ===

impl RefusedPageParams {
    fn filter(self, link: LinkName) -> RefusedFilter {
        RefusedFilter {
            link: Some(link),
            ids: Vec::new(),
            tenant: self.tenant.map(|Param(tenant)| tenant.to_string()),
            device: self.device.map(|Param(device)| device.to_string()),
            reason: self.reason.map(|Param(reason)| reason),
            since: self.since.map(|Param(since)| since),
            until: self.until.map(|Param(until)| until),
        }
    }
}

// === impl RetryOrder ===

impl RetryOrder {
    fn filter(&self, link: LinkName) -> Result<RefusedFilter, Problem> {
        if self.ids.len() > IDS_MAX {
            return Err(Problem::field("ids", format!("expected at most {IDS_MAX} identifiers")));
        }
        let filter = RefusedFilter {
            link: None,
            ids: self.ids.clone(),
            tenant: self.tenant.as_ref().map(|Param(tenant)| tenant.to_string()),
            device: self.device.as_ref().map(|Param(device)| device.to_string()),
            reason: self.reason.as_ref().map(|Param(reason)| *reason),
            since: self.since.as_ref().map(|Param(since)| *since),
            until: self.until.as_ref().map(|Param(until)| *until),
        };
        // A caller that is bound to a tenant always sends `tenant`, so `all` is for the others.
        if filter.is_everything() != self.all {
            return Err(Problem::field(
                "all",
                "send identifiers or conditions such as `tenant` or `reason`, or only `all`",
            ));
        }
        Ok(RefusedFilter { link: Some(link), ..filter })
    }
}
