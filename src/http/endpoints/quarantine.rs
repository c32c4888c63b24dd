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
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::ingest::replay::{Replayed, Replayer};
use crate::store::reads::quarantine::{
    self, EventSummary, QuarantineCursor, QuarantineFilter, Record,
};
use crate::telemetry::metrics::Metrics;

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
    let rows = quarantine::list(
        api.database.pool(),
        &call.query.filter(),
        before,
        Page::<EventSummary>::fetch(limit),
    )
    .await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn show(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<RefusedMessage>, Problem> {
    let Param(id) = call.path.id;
    let found = quarantine::fetch(api.database.pool(), &one(id), None, 1).await?.pop();
    found.map(|record| OkJson(record.into())).ok_or_else(|| none_such(id))
}

pub(crate) async fn discard_one(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<Discarded>, Problem> {
    let Param(id) = call.path.id;
    match quarantine::discard(api.database.pool(), &api.actor, &one(id)).await? {
        0 => Err(none_such(id)),
        events => Ok(OkJson(Discarded { events, discarded: true })),
    }
}

pub(crate) async fn discard(
    api: Api,
    call: Call<NoParams, NoParams, Json<Chosen>>,
) -> Result<OkJson<Discarded>, Problem> {
    let Json(chosen) = call.body;
    let (filter, pool) = (chosen.filter()?, api.database.pool());
    let events = if chosen.dry_run {
        quarantine::count(pool, &filter).await?.unsigned_abs()
    } else {
        quarantine::discard(pool, &api.actor, &filter).await?
    };
    Ok(OkJson(Discarded { events, discarded: !chosen.dry_run }))
}

pub(crate) async fn replay(
    api: Api,
    call: Call<NoParams, NoParams, Json<Chosen>>,
) -> Result<OkJson<Replay>, Problem> {
    let Json(chosen) = call.body;
    let mut filter = chosen.filter()?;
    // A request by identifier reports every event; any other skips the events already replayed.
    if filter.ids.is_empty() {
        filter.replayed = Some(false);
    }
    let metrics = Metrics::new()
        .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?
        .ingest;
    let (directory, pool) = (api.database.directory(), api.database.pool());
    let sink = if chosen.dry_run { api.database.rehearsal() } else { api.database.sink() };
    let mut road =
        Replayer::new(&api.config.ingest, directory, sink, metrics, clock::now, chosen.dry_run);
    let mut records = quarantine::fetch(pool, &filter, None, REPLAY_MAX + 1).await?;
    let more = records.len() > REPLAY_MAX as usize;
    records.truncate(REPLAY_MAX as usize);
    let (mut items, mut done) = (Vec::new(), Vec::new());
    for record in &records {
        let replayed = match record.summary.replayed_at {
            Some(_) => Replayed::Before,
            None => road.replay(record.delivery()).await?,
        };
        let item = ReplayedEvent::new(record.summary.id, road.label(&replayed), replayed);
        if item.reason.is_none() {
            done.push(record.summary.place());
        }
        items.push(item);
    }
    if !chosen.dry_run && !done.is_empty() {
        quarantine::mark_replayed(pool, &api.actor, &done, clock::now()).await?;
    }
    Ok(OkJson(Replay { items, more }))
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
        if filter.is_everything() == self.all {
            return Ok(filter);
        }
        Err(Problem::field(
            "all",
            "name identifiers or conditions such as `tenant` or `reason`, or set `all` alone",
        ))
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

impl ReplayedEvent {
    fn new(id: Uuid, result: &'static str, replayed: Replayed) -> Self {
        let refusal = if let Replayed::Refused(refusal) = replayed { Some(refusal) } else { None };
        let reason = refusal.as_ref().map(|refusal| refusal.reason.label());
        Self { id, result, reason, detail: refusal.map(|refusal| refusal.detail.into_owned()) }
    }
}

// === private helpers ===

fn one(id: Uuid) -> QuarantineFilter {
    QuarantineFilter { ids: vec![id], ..QuarantineFilter::default() }
}

fn none_such(id: Uuid) -> Problem {
    Problem::not_found(format!(
        "there is no event {id} in quarantine: it was discarded or outlived QUARANTINE_RETENTION_DAYS"
    ))
}
