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
use crate::domain::link::LinkName;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::events::EventView;
use crate::quarantine::replay::{ReplayPlan, ReplayResult};
use crate::quarantine::{by_id, select};
use crate::store::reads::quarantine::{QuarantineCursor, QuarantineFilter, Record};

/// The most events of one replay request: each needs its own transaction, and the time of a request
/// is limited.
const REPLAY_MAX: u32 = 500;

/// The most identifiers in one request.
const IDS_MAX: usize = 1000;

/// The path of an event.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EventPath {
    /// The identifier of the event.
    id: Param<Uuid>,
}

/// The page and the filters of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantinePageParams {
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
    /// Only messages that were quarantined before this time.
    until: Option<Param<Timestamp>>,
    /// Only messages that were replayed (`true`), or that were not (`false`).
    replayed: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<QuarantineCursor>>,
}

/// The selected events. Send at least one condition, or only `all`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
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
    /// Only messages that were quarantined before this time.
    until: Option<Param<Timestamp>>,
    /// All events; without any other condition.
    #[serde(default)]
    all: bool,
    /// Report what would happen, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// A refused message with its payload.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RefusedMessage {
    #[serde(flatten)]
    summary: EventView,
    /// The time of the device, if it is readable.
    event_ts: Option<chrono::DateTime<chrono::Utc>>,
    /// The site in the payload, if it is readable.
    site_id: Option<String>,
    /// The message type: the path of the topic after the device.
    msg_type: Option<String>,
    /// The identifier of the message.
    message_id: Uuid,
    /// Whether the message contained a token. Sluice does not store it.
    token_present: bool,
    /// The payload, if it is UTF-8.
    payload: Option<String>,
    /// The payload in hex, if it is not UTF-8.
    payload_hex: Option<String>,
}

/// The results of a replay, the oldest event first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Replay {
    /// The result of each event.
    items: Vec<ReplayedEvent>,
    /// Whether more events may match: one request replays at most 500.
    more: bool,
}

/// The result of one event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReplayedEvent {
    /// The identifier of the event.
    id: Uuid,
    /// `stored`, `would be stored`, `stored before`, `replayed before`, `ignored` or `refused`.
    result: &'static str,
    /// The reason, if the message is refused again.
    reason: Option<&'static str>,
    /// What exactly is wrong, if the message is refused again.
    detail: Option<String>,
}

/// The result of a deletion.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Discarded {
    /// The number of events.
    events: u64,
    /// False after a dry run, which only counts.
    discarded: bool,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, QuarantinePageParams, NoBody>,
) -> Result<OkJson<Page<EventView>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let before = call.query.cursor.as_ref().map(|Param(place)| *place);
    let fetched = Page::<EventView>::fetch(limit);
    let rows = api.quarantine().list(&call.query.filter(), before, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn show(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<RefusedMessage>, Problem> {
    let Param(id) = call.path.id;
    let record = api.quarantine().find(id).await?.ok_or_else(|| Problem::no_event(id))?;
    Ok(OkJson(record.into()))
}

pub(crate) async fn discard_one(
    api: Api,
    call: Call<EventPath, NoParams, NoBody>,
) -> Result<OkJson<Discarded>, Problem> {
    let Param(id) = call.path.id;
    match api.quarantine().discard(&by_id(id), false).await? {
        0 => Err(Problem::no_event(id)),
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
        links: api.config.links.path.as_deref(),
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
            link: self.link.map(|Param(link)| link),
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
            return Err(Problem::field("ids", format!("expected at most {IDS_MAX} identifiers")));
        }
        let filter = QuarantineFilter {
            ids: self.ids.iter().map(|Param(id)| *id).collect(),
            tenant: self.tenant.as_ref().map(|Param(tenant)| tenant.to_string()),
            device: self.device.as_ref().map(|Param(device)| device.to_string()),
            reason: self.reason.as_ref().map(|Param(reason)| *reason),
            link: self.link.as_ref().map(|Param(link)| link.clone()),
            since: self.since.as_ref().map(|Param(since)| *since),
            until: self.until.as_ref().map(|Param(until)| *until),
            replayed: None,
        };
        select(filter, self.all).map_err(|_| {
            Problem::field(
                "all",
                "send identifiers or conditions such as `tenant` or `reason`, or only `all`",
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
            summary: record.summary.into(),
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
