//! `/quarantine/replays`: replays as jobs. A job begins as a dry run; `start` replays exactly what was
//! dry-run.
//!
//! The daemon works on jobs in the background; a request only orders.

use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::quarantine::{QuarantineSelection, filter_of_fields};
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::{CreatedJson, OkJson};
use crate::http::api::state::Api;
use crate::http::views::replays::ReplayJobView;
use crate::quarantine::select;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::replay_jobs::ReplayJobError;

/// The path of a job.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ReplayPath {
    /// The identifier of the job.
    id: Param<Uuid>,
}

/// The page and the filter of jobs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayPageParams {
    /// Only jobs of this tenant.
    tenant: Option<Param<TenantId>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<QuarantineCursor>>,
}

/// The messages of a job. Send at least one condition, or only `all`. Without `replayed` in the search
/// and without identifiers, the job leaves out what was replayed before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayOrder {
    /// The identifiers of events, at most 1000.
    #[serde(default)]
    ids: Vec<Param<Uuid>>,
    /// Only messages of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only messages of this device.
    device: Option<Param<DeviceId>>,
    /// Only messages that were refused for this reason.
    reason: Option<Param<Reason>>,
    /// Only messages that came over this link.
    link: Option<Param<LinkName>>,
    /// Only messages that were quarantined at this time or later.
    since: Option<Param<Timestamp>>,
    /// Only messages that were quarantined before this time; never later than now.
    until: Option<Param<Timestamp>>,
    /// Only messages that this search selects, such as `tenant:acme reason:TOKEN_INVALID -pump-7`.
    search: Option<String>,
    /// All messages that were not replayed before; without any other condition.
    #[serde(default)]
    all: bool,
}

pub(crate) async fn order(
    api: Api,
    call: Call<NoParams, NoParams, Json<ReplayOrder>>,
) -> Result<CreatedJson<ReplayJobView>, Problem> {
    let Json(order) = call.body;
    let search = order.search.clone().unwrap_or_default();
    let filter = filter_of_fields(QuarantineSelection {
        ids: order.ids,
        tenant: order.tenant,
        device: order.device,
        reason: order.reason,
        link: order.link,
        since: order.since,
        until: order.until,
        search: order.search,
    })?;
    let filter = select(filter, order.all).map_err(|_| Problem::nothing_selected())?;
    let job = api.quarantine().order_replay(&filter, &search).await?;
    api.replay_signal.wake();
    Ok(CreatedJson(job.into()))
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, ReplayPageParams, NoBody>,
) -> Result<OkJson<Page<ReplayJobView>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let before = call.query.cursor.as_ref().map(|Param(place)| *place);
    let tenant = call.query.tenant.as_ref().map(|Param(tenant)| tenant.as_str());
    let rows = Page::<ReplayJobView>::fetch(limit);
    let jobs = api.quarantine().list_replays(tenant, before, rows).await?;
    Ok(OkJson(Page::new(jobs, limit, |last| {
        QuarantineCursor { at: last.created_at.into(), id: last.id }.to_string()
    })))
}

pub(crate) async fn show(
    api: Api,
    call: Call<ReplayPath, NoParams, NoBody>,
) -> Result<OkJson<ReplayJobView>, Problem> {
    let Param(id) = call.path.id;
    let job = api.quarantine().find_replay(id).await?.ok_or_else(|| Problem::no_replay(id))?;
    Ok(OkJson(job.into()))
}

pub(crate) async fn start(
    api: Api,
    call: Call<ReplayPath, NoParams, NoBody>,
) -> Result<OkJson<ReplayJobView>, Problem> {
    let Param(id) = call.path.id;
    let job = api.quarantine().start_replay(id).await?;
    api.replay_signal.wake();
    Ok(OkJson(job.into()))
}

pub(crate) async fn stop(
    api: Api,
    call: Call<ReplayPath, NoParams, NoBody>,
) -> Result<OkJson<ReplayJobView>, Problem> {
    let Param(id) = call.path.id;
    Ok(OkJson(api.quarantine().stop_replay(id).await?.into()))
}

// === impl Problem ===

impl Problem {
    /// No job has this identifier.
    pub(crate) fn no_replay(id: Uuid) -> Self {
        Self::not_found(format!(
            "there is no replay {id}; GET /api/v1/quarantine/replays lists them for 90 days"
        ))
    }

    /// A change of the quarantine selects nothing, or everything together with conditions.
    pub(crate) fn nothing_selected() -> Self {
        let detail =
            "send identifiers or conditions such as `tenant`, `reason` or `search`, or only `all`";
        Self::field("all", detail)
    }
}

impl From<ReplayJobError> for Problem {
    fn from(error: ReplayJobError) -> Self {
        match error {
            ReplayJobError::Unknown(id) => Self::no_replay(id),
            ReplayJobError::Busy(id) => Self::conflict(format!(
                "the replay {id} of these messages is running: wait for its end, or stop it"
            )),
            ReplayJobError::Done(id) => {
                Self::conflict(format!("the replay {id} is done: order a new dry run"))
            }
            ReplayJobError::NotRunning(id) => {
                Self::conflict(format!("the replay {id} is not running"))
            }
            ReplayJobError::Outage(outage) => outage.into(),
        }
    }
}
