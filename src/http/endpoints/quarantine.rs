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
use crate::quarantine::search::{narrowed, read_search};
use crate::quarantine::{by_id, select};
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::reads::quarantine::Record;

/// The most events of one replay request: each needs its own transaction, and the time of a request
/// is limited.
const REPLAY_MAX: u32 = 500;

/// The most identifiers in one request.
const IDS_MAX: usize = 1000;

/// The path of an event.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct EventPath {
    /// The identifier of the event.
    pub(super) id: Param<Uuid>,
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
    /// Only messages that this search selects, such as `tenant:acme topic:tenant/acme/* -pump-7`.
    search: Option<String>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<QuarantineCursor>>,
}

/// A place in a list of events, and the filters of the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeighbourParams {
    /// The place: `<microseconds>-<id>` of a message.
    cursor: Param<QuarantineCursor>,
    /// Only messages of this tenant.
    tenant: Option<Param<TenantId>>,
    /// Only messages that this search selects, such as `tenant:acme topic:tenant/acme/* -pump-7`.
    search: Option<String>,
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
    /// Only messages that this search selects, such as `tenant:acme topic:tenant/acme/* -pump-7`.
    search: Option<String>,
    /// All events; without any other condition.
    #[serde(default)]
    all: bool,
    /// Report what would happen, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// A refused message with its payload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RefusedMessage {
    #[serde(flatten)]
    pub(crate) summary: EventView,
    /// The time of the device, if it is readable.
    pub(crate) event_ts: Option<chrono::DateTime<chrono::Utc>>,
    /// The site in the payload, if it is readable.
    pub(crate) site_id: Option<String>,
    /// The message type: the path of the topic after the device.
    pub(crate) msg_type: Option<String>,
    /// The identifier of the message.
    pub(crate) message_id: Uuid,
    /// Whether the message contained a token. Sluice does not store it.
    pub(crate) token_present: bool,
    /// The payload, if it is UTF-8.
    pub(crate) payload: Option<String>,
    /// The payload in hex, if it is not UTF-8.
    pub(crate) payload_hex: Option<String>,
}

/// The results of a replay, the oldest event first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Replay {
    /// The result of each event.
    pub(crate) items: Vec<ReplayedEvent>,
    /// Whether more events may match: one request replays at most 500.
    pub(crate) more: bool,
}

/// The result of one event.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReplayedEvent {
    /// The identifier of the event.
    pub(crate) id: Uuid,
    /// `stored`, `would be stored`, `stored before`, `replayed before`, `ignored` or `refused`.
    pub(crate) result: String,
    /// The reason, if the message is refused again.
    pub(crate) reason: Option<String>,
    /// What exactly is wrong, if the message is refused again.
    pub(crate) detail: Option<String>,
}

/// The refused messages beside one of a list.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Neighbours {
    /// The identifier of the next newer message; null: there is none.
    pub(crate) newer: Option<Uuid>,
    /// The identifier of the next older message; null: there is none.
    pub(crate) older: Option<Uuid>,
}

/// The result of a deletion.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Discarded {
    /// The number of events.
    pub(crate) events: u64,
    /// False after a dry run, which only counts.
    pub(crate) discarded: bool,
}

pub(crate) async fn list(
    api: Api,
    call: Call<NoParams, QuarantinePageParams, NoBody>,
) -> Result<OkJson<Page<EventView>>, Problem> {
    let Param(Limit(limit)) = call.query.limit;
    let before = call.query.cursor.as_ref().map(|Param(place)| *place);
    let filter = call.query.filter()?;
    let rows = api.quarantine().list(&filter, before, Page::<EventView>::fetch(limit)).await?;
    let mut page = Page::new(rows, limit, |last| last.place().to_string());
    if page.next.is_none() {
        page.next =
            api.quarantine().scan_end(&filter, before).await?.map(|place| place.to_string());
    }
    Ok(OkJson(page))
}

pub(crate) async fn neighbours(
    api: Api,
    call: Call<NoParams, NeighbourParams, NoBody>,
) -> Result<OkJson<Neighbours>, Problem> {
    let Param(place) = call.query.cursor;
    let filter = filter_of_fields(QuarantineSelection {
        ids: Vec::new(),
        tenant: call.query.tenant,
        device: None,
        reason: None,
        link: None,
        since: None,
        until: None,
        search: call.query.search,
    })?;
    let quarantine = api.quarantine();
    let newer = quarantine.next_newer(&filter, place).await?;
    let older = quarantine.list(&filter, Some(place), 1).await?.pop().map(|event| event.id);
    Ok(OkJson(Neighbours { newer, older }))
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
    let is_dry = chosen.dry_run;
    let events = api.quarantine().discard(&chosen.filter()?, is_dry).await?;
    Ok(OkJson(Discarded { events, discarded: !is_dry }))
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

/// The conditions of a filter, as a request has them.
#[derive(Debug)]
pub(super) struct QuarantineSelection {
    pub ids: Vec<Param<Uuid>>,
    pub tenant: Option<Param<TenantId>>,
    pub device: Option<Param<DeviceId>>,
    pub reason: Option<Param<Reason>>,
    pub link: Option<Param<LinkName>>,
    pub since: Option<Param<Timestamp>>,
    pub until: Option<Param<Timestamp>>,
    pub search: Option<String>,
}

/// The filter of all conditions together.
pub(super) fn filter_of_fields(fields: QuarantineSelection) -> Result<QuarantineFilter, Problem> {
    if fields.ids.len() > IDS_MAX {
        return Err(Problem::field("ids", format!("expected at most {IDS_MAX} identifiers")));
    }
    let filter = QuarantineFilter {
        ids: fields.ids.into_iter().map(|Param(id)| id).collect(),
        tenant: fields.tenant.map(|Param(tenant)| tenant.to_string()),
        device: fields.device.map(|Param(device)| device.to_string()),
        reason: fields.reason.map(|Param(reason)| reason),
        link: fields.link.map(|Param(link)| link),
        since: fields.since.map(|Param(since)| since),
        until: fields.until.map(|Param(until)| until),
        replayed: None,
        conditions: Vec::new(),
    };
    let Some(search) = fields.search else { return Ok(filter) };
    let (by, _) = read_search(&search, clock::now())
        .map_err(|error| Problem::field("search", error.to_string()))?;
    Ok(narrowed(filter, by))
}

// === impl QuarantinePageParams ===

impl QuarantinePageParams {
    fn filter(self) -> Result<QuarantineFilter, Problem> {
        let replayed = self.replayed.map(|Param(replayed)| replayed);
        let filter = filter_of_fields(QuarantineSelection {
            ids: Vec::new(),
            tenant: self.tenant,
            device: self.device,
            reason: self.reason,
            link: self.link,
            since: self.since,
            until: self.until,
            search: self.search,
        })?;
        Ok(narrowed(QuarantineFilter { replayed, ..QuarantineFilter::default() }, filter))
    }
}

// === impl Chosen ===

impl Chosen {
    fn filter(self) -> Result<QuarantineFilter, Problem> {
        let all = self.all;
        let filter = filter_of_fields(QuarantineSelection {
            ids: self.ids,
            tenant: self.tenant,
            device: self.device,
            reason: self.reason,
            link: self.link,
            since: self.since,
            until: self.until,
            search: self.search,
        })?;
        select(filter, all).map_err(|_| Problem::nothing_selected())
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
            result: replayed.label.to_owned(),
            reason: replayed.refusal.as_ref().map(|refusal| refusal.reason.label().to_owned()),
            detail: replayed.refusal.map(|refusal| refusal.detail.into_owned()),
        }
    }
}
