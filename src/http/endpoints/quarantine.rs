//! `/quarantine`: list, show, replay and discard refused messages.
//!
//! It shows only whether a message had a token. A message that is refused again stays in quarantine
//! unchanged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock;
use crate::domain::hex;
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::quarantine::replay::{ReplayPlan, ReplayResult};
use crate::quarantine::{by_id, select};
use crate::store::reads::quarantine::{EventSummary, QuarantineCursor, QuarantineFilter, Record};

/// The most events of one replay request: each needs its own transaction, and the time of a request
/// is limited.
const REPLAY_MAX: u32 = 500;

/// The most identifiers in one request.
const IDS_MAX: usize = 1000;

/// Which event.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EventPath {
    id: Param<Uuid>,
}

/// Which page of which events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantinePageParams {
    tenant: Option<Param<TenantId>>,
    device: Option<Param<DeviceId>>,
    reason: Option<Param<Reason>>,
    /// Quarantined at this moment or later.
    since: Option<Param<Timestamp>>,
    /// Quarantined before this moment.
    until: Option<Param<Timestamp>>,
    /// Only those replayed already, or only those not.
    replayed: Option<Param<bool>>,
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the page before.
    cursor: Option<Param<QuarantineCursor>>,
}

/// Which events. At least one condition is asked for; `all` stands for every event, alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    /// These; up to 1000.
    #[serde(default)]
    ids: Vec<Param<Uuid>>,
    tenant: Option<Param<TenantId>>,
    device: Option<Param<DeviceId>>,
    reason: Option<Param<Reason>>,
    /// Quarantined at this moment or later.
    since: Option<Param<Timestamp>>,
    /// Quarantined before this moment.
    until: Option<Param<Timestamp>>,
    /// Every event there is.
    #[serde(default)]
    all: bool,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// A refused message with its payload.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RefusedMessage {
    #[serde(flatten)]
    summary: EventSummary,
    event_ts: Option<chrono::DateTime<chrono::Utc>>,
    site_id: Option<String>,
    msg_type: Option<String>,
    message_id: Uuid,
    /// Whether a token was sent; it was not kept.
    token_present: bool,
    /// The payload, when it is UTF-8.
    payload: Option<String>,
    /// The payload in hex, when it is not.
    payload_hex: Option<String>,
}

/// What became of the replayed events, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Replay {
    items: Vec<ReplayedEvent>,
    /// Whether there may be more: one request replays up to 500.
    more: bool,
}

/// What became of one event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReplayedEvent {
    id: Uuid,
    /// `stored`, `would be stored`, `stored before`, `replayed before`, `ignored` or `refused`.
    result: &'static str,
    /// The reason, when it is refused again.
    reason: Option<&'static str>,
    /// What exactly is wrong with it then.
    detail: Option<String>,
}

/// What was deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discarded {
    /// How many events.
    events: u64,
    /// False when they were only counted.
    discarded: bool,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, QuarantinePageParams, NoBody>,
) -> Result<OkJson<Page<EventSummary>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let before = call.query.cursor.as_ref().map(|Param(place)| *place);
    let fetched = Page::<EventSummary>::fetch(limit);
    let rows = api.quarantine().list(&call.query.filter(), before, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn show(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<RefusedMessage>, Problem> {
    let Param(id) = call.path.id;
    let record = api.quarantine().find(id).await?.ok_or_else(|| not_found(id))?;
    Ok(OkJson(record.into()))
}

pub(crate) async fn discard_one(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<Discarded>, Problem> {
    let Param(id) = call.path.id;
    match api.quarantine().discard(&by_id(id), false).await? {
        0 => Err(not_found(id)),
        events => Ok(OkJson(Discarded { events, discarded: true })),
    }
}

pub(crate) async fn discard(
    api: Api,
    call: Call<NoParams, NoParams, Json<Chosen>>,
) -> Result<OkJson<Discarded>, Problem> {
    let Json(chosen) = call.body;
    let events = api.quarantine().discard(&chosen.filter()?, chosen.dry_run).await?;
    Ok(OkJson(Discarded { events, discarded: !chosen.dry_run }))
}

pub(crate) async fn replay(
    api: Api,
    call: Call<NoParams, NoParams, Json<Chosen>>,
) -> Result<OkJson<Replay>, Problem> {
    let Json(chosen) = call.body;
    let plan = ReplayPlan {
        config: &api.config.ingest,
        metrics: api.replay_metrics.clone(),
        clock: clock::now,
        limit: REPLAY_MAX,
        is_dry: chosen.dry_run,
    };
    let report = api.quarantine().replay(chosen.filter()?, plan).await?;
    let items = report.results.into_iter().map(ReplayedEvent::from).collect();
    Ok(OkJson(Replay { items, more: report.more }))
}

// === impl QuarantinePageParams ===

impl QuarantinePageParams {
    fn filter(self) -> QuarantineFilter {
        QuarantineFilter {
            ids: Vec::new(),
            tenant: self.tenant.map(|Param(tenant)| tenant.to_string()),
            device: self.device.map(|Param(device)| device.to_string()),
            reason: self.reason.map(|Param(reason)| reason),
            since: self.since.map(|Param(since)| since),
            until: self.until.map(|Param(until)| until),
            replayed: self.replayed.map(|Param(replayed)| replayed),
        }
    }
}

// === impl Chosen ===

impl Chosen {
    fn filter(&self) -> Result<QuarantineFilter, Problem> {
        if self.ids.len() > IDS_MAX {
            return Err(Problem::field("ids", format!("there are at most {IDS_MAX}")));
        }
        let filter = QuarantineFilter {
            ids: self.ids.iter().map(|Param(id)| *id).collect(),
            tenant: self.tenant.as_ref().map(|Param(tenant)| tenant.to_string()),
            device: self.device.as_ref().map(|Param(device)| device.to_string()),
            reason: self.reason.as_ref().map(|Param(reason)| *reason),
            since: self.since.as_ref().map(|Param(since)| *since),
            until: self.until.as_ref().map(|Param(until)| *until),
            replayed: None,
        };
        select(filter, self.all).map_err(|_| {
            Problem::field(
                "all",
                "name identifiers or conditions such as `tenant` or `reason`, or set `all` alone",
            )
        })
    }
}

// === impl RefusedMessage ===

impl From<Record> for RefusedMessage {
    fn from(record: Record) -> Self {
        let text = std::str::from_utf8(&record.payload).ok().map(str::to_owned);
        Self {
            payload_hex: text.is_none().then(|| hex::encode(&record.payload)),
            payload: text,
            summary: record.summary,
            event_ts: record.event_ts,
            site_id: record.site_id,
            msg_type: record.msg_type,
            message_id: record.replay.message_id,
            token_present: record.replay.token.is_some(),
        }
    }
}

// === impl ReplayedEvent ===

impl From<ReplayResult> for ReplayedEvent {
    fn from(replayed: ReplayResult) -> Self {
        Self {
            id: replayed.event.id,
            result: replayed.label,
            reason: replayed.refusal.as_ref().map(|refusal| refusal.reason.label()),
            detail: replayed.refusal.map(|refusal| refusal.detail.into_owned()),
        }
    }
}

// === private helpers ===

fn not_found(id: Uuid) -> Problem {
    Problem::not_found(format!(
        "there is no event {id} in quarantine: it was discarded or outlived QUARANTINE_RETENTION_DAYS"
    ))
}
