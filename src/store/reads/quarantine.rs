//! Reads and clears the quarantine: list, show, fetch for a replay, mark as replayed, discard.
//!
//! It decides nothing about a message, and returns no token and no hash. The transaction of a batch
//! writes its refused messages ([`crate::store::batch::quarantine_rows`]).

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sluice_shared::proof::ShortFingerprint;
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use crate::domain::hex;
use crate::domain::link::LinkArrival;
use crate::domain::message::{Delivery, ReplayOrigin};
use crate::domain::ports::Outage;
use crate::domain::publisher::{ProvenPublisher, Publisher};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::{QuarantineFilter, SCAN_MAX};
use crate::store::registry::audit::{self, Actor, Entry};

/// Events per discarding transaction, so that no lock lasts long.
const DISCARD_CHUNK: i64 = 5_000;

/// What a list shows of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct EventSummary {
    /// Its identifier.
    pub id: Uuid,
    /// When it was quarantined.
    pub quarantined_at: DateTime<Utc>,
    /// When the message was received.
    pub received_at: DateTime<Utc>,
    /// Its topic.
    pub topic: String,
    /// The topic's tenant.
    pub tenant_id: Option<String>,
    /// The topic's device.
    pub device_id: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// What exactly is wrong.
    pub detail: String,
    /// Bytes of payload that were kept.
    pub payload_bytes: i32,
    /// When it was replayed.
    pub replayed_at: Option<DateTime<Utc>>,
    /// The link that it came from.
    pub link: Option<String>,
    /// How many replays refused it again.
    pub replay_attempts: i32,
    /// The identity that is proven to have published it.
    pub publisher: Option<String>,
}

/// A whole event. It has no serialized form, because it contains the hash of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The fields of a list.
    pub summary: EventSummary,
    /// The device's own time, when it could be read.
    pub event_ts: Option<DateTime<Utc>>,
    /// The payload's site, when it could be read.
    pub site_id: Option<String>,
    /// The topic's path after the device.
    pub msg_type: Option<String>,
    /// The payload without its token.
    pub payload: Bytes,
    /// Further fields that a replay needs.
    pub replay: ReplayOrigin,
    /// The first half of the fingerprint of its publisher's certificate.
    pub publisher_certificate: Option<ShortFingerprint>,
}

/// A row of the table.
#[derive(Debug, sqlx::FromRow)]
struct EventRow {
    #[sqlx(flatten)]
    summary: EventSummary,
    event_ts: Option<DateTime<Utc>>,
    site_id: Option<String>,
    msg_type: Option<String>,
    payload: Vec<u8>,
    token_sha256: Option<String>,
    publisher_certificate: Option<String>,
    message_id: Uuid,
}

/// The columns of a [`EventSummary`].
macro_rules! summary_columns {
    () => {
        "id, quarantined_at, received_at, topic, tenant_id, device_id, reason, detail, octet_length(payload) AS payload_bytes,
         replayed_at, link, replay_attempts, publisher"
    };
}

/// Lists a page of events before `before`, newest first. With conditions it looks at
/// [`SCAN_MAX`] events at most: [`scan_end`] says where it stopped.
pub async fn list(
    pool: &PgPool,
    filter: &QuarantineFilter,
    before: Option<QuarantineCursor>,
    limit: u32,
) -> Result<Vec<EventSummary>, Outage> {
    let mut query = QueryBuilder::new(concat!("SELECT ", summary_columns!(), " FROM "));
    filter.push_source(&mut query, before);
    query.push(" ORDER BY quarantined_at DESC, id DESC LIMIT ").push_bind(i64::from(limit));
    query.build_query_as().fetch_all(pool).await.map_err(outage)
}

/// Where [`list`] stopped to look, if it did not look at all events.
pub async fn scan_end(
    pool: &PgPool,
    filter: &QuarantineFilter,
    before: Option<QuarantineCursor>,
) -> Result<Option<QuarantineCursor>, Outage> {
    if !filter.needs_scan() {
        return Ok(None);
    }
    let plain = QuarantineFilter { conditions: Vec::new(), link: None, ..filter.clone() };
    let mut query = QueryBuilder::new("SELECT quarantined_at, id FROM ");
    plain.push_source(&mut query, before);
    query.push(" ORDER BY quarantined_at DESC, id DESC LIMIT 1 OFFSET ").push_bind(SCAN_MAX - 1);
    let place: Option<(DateTime<Utc>, Uuid)> =
        query.build_query_as().fetch_optional(pool).await.map_err(outage)?;
    Ok(place.map(|(at, id)| QuarantineCursor { at: at.into(), id }))
}

/// The event that follows `after` in time. With conditions it looks at [`SCAN_MAX`] events at most.
pub async fn next_newer(
    pool: &PgPool,
    filter: &QuarantineFilter,
    after: QuarantineCursor,
) -> Result<Option<Uuid>, Outage> {
    let mut query = QueryBuilder::new("SELECT id FROM ");
    filter.push_source_after(&mut query, after);
    query.push(" ORDER BY quarantined_at, id LIMIT 1");
    query.build_query_scalar().fetch_optional(pool).await.map_err(outage)
}

/// Reads a page of whole events after `after`, oldest first, for a replay. Each may contain a payload
/// of `QUARANTINE_PAYLOAD_MAX` bytes: keep the page small.
pub async fn fetch(
    pool: &PgPool,
    filter: &QuarantineFilter,
    after: Option<QuarantineCursor>,
    limit: u32,
) -> Result<Vec<Record>, Outage> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        summary_columns!(),
        ", event_ts, site_id, msg_type, payload, token_sha256, publisher_certificate, message_id FROM quarantine_events WHERE "
    ));
    filter.push_to(&mut query);
    if let Some(after) = after {
        query.push(" AND (quarantined_at, id) > (").push_bind(after.at.to_utc());
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY quarantined_at, id LIMIT ").push_bind(i64::from(limit));
    let rows: Vec<EventRow> = query.build_query_as().fetch_all(pool).await.map_err(outage)?;
    Ok(rows.into_iter().map(Record::from).collect())
}

/// Counts the events of `filter`.
pub async fn count(pool: &PgPool, filter: &QuarantineFilter) -> Result<i64, Outage> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM quarantine_events WHERE ");
    filter.push_to(&mut query);
    query.build_query_scalar().fetch_one(pool).await.map_err(outage)
}

/// Marks events as replayed; returns how many were not before. One audit entry names them all.
pub async fn mark_replayed(
    pool: &PgPool,
    actor: &Actor,
    events: &[QuarantineCursor],
    now: Timestamp,
) -> Result<u64, Outage> {
    let mark = async {
        let mut tx = pool.begin().await?;
        let marked = mark_in(&mut tx, actor, events, now).await?;
        tx.commit().await?;
        Ok(marked)
    };
    mark.await.map_err(outage)
}

/// Counts for events that a replay has refused them again.
pub async fn count_attempts(pool: &PgPool, events: &[QuarantineCursor]) -> Result<(), Outage> {
    let count = async {
        let mut tx = pool.begin().await?;
        note_attempts(&mut tx, events).await?;
        tx.commit().await
    };
    count.await.map_err(outage)
}

/// [`mark_replayed`] in a transaction of the caller.
pub(in crate::store) async fn mark_in(
    connection: &mut PgConnection,
    actor: &Actor,
    events: &[QuarantineCursor],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let (times, ids) = columns(events);
    let marked: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE quarantine_events SET replayed_at = $3 WHERE replayed_at IS NULL
             AND (quarantined_at, id) IN (SELECT * FROM unnest($1::timestamptz[], $2::uuid[])) RETURNING id",
    )
    .bind(times)
    .bind(ids)
    .bind(now.to_utc())
    .fetch_all(&mut *connection)
    .await?;
    if !marked.is_empty() {
        let detail = json!({ "events": marked });
        let entry =
            Entry { actor, action: "quarantine.replay", tenant: None, device: None, detail };
        audit::record(connection, entry).await?;
    }
    Ok(marked.len() as u64)
}

/// [`count_attempts`] in a transaction of the caller.
pub(in crate::store) async fn note_attempts(
    connection: &mut PgConnection,
    events: &[QuarantineCursor],
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let (times, ids) = columns(events);
    sqlx::query(
        "UPDATE quarantine_events SET replay_attempts = replay_attempts + 1
             WHERE (quarantined_at, id) IN (SELECT * FROM unnest($1::timestamptz[], $2::uuid[]))",
    )
    .bind(times)
    .bind(ids)
    .execute(connection)
    .await
    .map(drop)
}

/// Deletes the events of `filter` in bounded transactions, each with its audit entry; returns their
/// number.
pub async fn discard(
    pool: &PgPool,
    actor: &Actor,
    filter: &QuarantineFilter,
) -> Result<u64, Outage> {
    let mut discarded = 0;
    loop {
        let rows = discard_chunk(pool, actor, filter).await.map_err(outage)?;
        discarded += rows;
        if rows < DISCARD_CHUNK.unsigned_abs() {
            return Ok(discarded);
        }
    }
}

// === impl EventSummary ===

impl EventSummary {
    /// Its position in time order.
    pub fn place(&self) -> QuarantineCursor {
        QuarantineCursor { at: self.quarantined_at.into(), id: self.id }
    }
}

// === impl Record ===

impl Record {
    /// The message as the broker delivered it, without its token and without an acknowledgement.
    pub fn delivery(&self) -> Delivery {
        Delivery {
            topic: Bytes::copy_from_slice(self.summary.topic.as_bytes()),
            payload: self.payload.clone(),
            cut_from: None,
            held_since: self.summary.received_at.into(),
            received_at: self.summary.received_at.into(),
            dup: false,
            redelivered: false,
            maybe_repeated: true,
            ack: None,
            correlation: None,
            publisher: self.publisher(),
            replay: Some(Box::new(self.replay.clone())),
            arrival: self.arrival().map(Box::new),
        }
    }
}

impl Record {
    /// Who is proven to have published it: its proof was verified when it was received. Without a proof
    /// it has none now.
    fn publisher(&self) -> Publisher {
        let Some(identity) = &self.summary.publisher else { return Publisher::Missing };
        Publisher::Proven(ProvenPublisher {
            identity: Bytes::copy_from_slice(identity.as_bytes()),
            fingerprint: self.publisher_certificate,
            at: self.summary.received_at.into(),
        })
    }

    /// Set for a message from a link.
    fn arrival(&self) -> Option<LinkArrival> {
        let link = self.summary.link.as_deref()?.parse().ok()?;
        let reason = Reason::from_label(&self.summary.reason)?;
        let refused = Refusal::new(reason, self.summary.detail.clone());
        let time = self.event_ts.map(Timestamp::from);
        Some(LinkArrival::replayed(link, time, self.replay.message_id, refused))
    }
}

impl From<EventRow> for Record {
    fn from(row: EventRow) -> Self {
        let token = row.token_sha256.as_deref().and_then(TokenHash::from_hex);
        Self {
            summary: row.summary,
            event_ts: row.event_ts,
            site_id: row.site_id,
            msg_type: row.msg_type,
            payload: row.payload.into(),
            replay: ReplayOrigin { token, message_id: row.message_id },
            publisher_certificate: row.publisher_certificate.as_deref().and_then(half),
        }
    }
}

// === private helpers ===

fn half(fingerprint: &str) -> Option<ShortFingerprint> {
    hex::decode(fingerprint).map(ShortFingerprint)
}

fn columns(events: &[QuarantineCursor]) -> (Vec<DateTime<Utc>>, Vec<Uuid>) {
    events.iter().map(|event| (event.at.to_utc(), event.id)).unzip()
}

async fn discard_chunk(
    pool: &PgPool,
    actor: &Actor,
    filter: &QuarantineFilter,
) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let mut query = QueryBuilder::new(
        "DELETE FROM quarantine_events WHERE (quarantined_at, id) IN (SELECT quarantined_at, id FROM quarantine_events WHERE ",
    );
    filter.push_to(&mut query);
    query.push(" LIMIT ").push_bind(DISCARD_CHUNK).push(")");
    let rows = query.build().execute(&mut *tx).await?.rows_affected();
    if rows > 0 {
        let detail = json!({ "events": rows, "filter": filter.describe() });
        let (tenant, device) = (filter.tenant.as_deref(), filter.device.as_deref());
        audit::record(
            &mut tx,
            Entry { actor, action: "quarantine.discard", tenant, device, detail },
        )
        .await?;
        tx.commit().await?;
    }
    Ok(rows)
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
