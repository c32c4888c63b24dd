//! Writes refused messages: each event as a row, the counters as sums.
//!
//! It decides no refusal and drops no event.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::columns::{ColumnField, ColumnKind};
use super::earlier_decisions::Horizon;
use crate::domain::batch::{Batch, Quarantined};
use crate::domain::link::LinkName;
use crate::domain::quarantine_sampling::RefusalCount;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// The columns, in the order of [`fields`]; `quarantined_at` defaults to the database's time.
const COPY: &str = "COPY quarantine_events \
    (id, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type, reason, detail, payload, token_sha256, message_id, link, \
    publisher, publisher_certificate) \
    FROM STDIN (FORMAT binary)";

/// The fields of an event.
pub(super) fn fields<'a>() -> [ColumnField<Event<'a>>; 16] {
    [
        (ColumnKind::Id, |to, event| to.uuid(event.id)),
        (ColumnKind::Moment, |to, event| to.timestamp(event.row.received_at)),
        (ColumnKind::Moment, |to, event| to.timestamp_or_null(event.row.event_time)),
        (ColumnKind::Text, |to, event| to.clean_text(&event.row.topic)),
        (ColumnKind::Text, |to, event| to.clean_text_or_null(event.row.tenant.as_deref())),
        (ColumnKind::Text, |to, event| to.clean_text_or_null(event.row.device.as_deref())),
        (ColumnKind::Text, |to, event| to.clean_text_or_null(event.row.site.as_deref())),
        (ColumnKind::Text, |to, event| to.clean_text_or_null(event.row.msg_type.as_deref())),
        (ColumnKind::Text, |to, event| to.bytes(event.row.refusal.reason.label().as_bytes())),
        (ColumnKind::Text, |to, event| to.clean_text(&event.row.refusal.detail)),
        (ColumnKind::Bytes, |to, event| to.bytes(&event.row.payload)),
        (ColumnKind::Text, |to, event| to.hash_or_null(event.row.token.as_ref())),
        (ColumnKind::Id, |to, event| to.uuid(event.row.message_id)),
        (ColumnKind::Text, |to, event| {
            to.clean_text_or_null(event.row.link.as_ref().map(LinkName::as_str));
        }),
        (ColumnKind::Text, |to, event| to.clean_text_or_null(event.row.publisher.as_deref())),
        (ColumnKind::Text, |to, event| {
            to.clean_text_or_null(event.row.publisher_certificate.as_deref());
        }),
    ]
}

/// Adds to the counters in the order of the key, so that replicas lock in the same order; returns
/// the transaction id.
const COUNT: &str = "WITH counted AS ( \
    INSERT INTO quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt) \
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[]) \
    ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + excluded.cnt) \
    SELECT pg_current_xact_id()::text";

/// Like [`COUNT`]; also notes the messages that are counted and not stored, and deletes obsolete
/// notes.
const COUNT_AND_NOTE: &str = "WITH counted AS ( \
    INSERT INTO quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt) \
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[]) \
    ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + excluded.cnt), \
    forgotten AS (DELETE FROM quarantine_unkept WHERE client_id = $5 AND received_at < $6), \
    noted AS (INSERT INTO quarantine_unkept (client_id, received_at, message_ids) VALUES ($5, $7, $8)) \
    SELECT pg_current_xact_id()::text";

/// Messages of a batch that are counted and not stored.
pub(super) struct Unkept<'a> {
    /// The client id they were delivered to.
    pub client_id: &'a str,
    pub batch: &'a Batch,
    /// How long their notes are needed.
    pub horizon: &'a mut Horizon,
}

/// A refused message and the identifier of its row.
#[derive(Debug)]
pub(super) struct Event<'a> {
    id: Uuid,
    row: &'a Quarantined,
}

/// Counts of refused messages, by the key of their row.
#[derive(Debug, Default)]
pub(super) struct Sums<'a> {
    pub minutes: Vec<DateTime<Utc>>,
    pub tenants: Vec<&'a str>,
    pub reasons: Vec<&'static str>,
    pub counts: Vec<i64>,
}

// === impl Event ===

impl<'a> Event<'a> {
    /// The events of `rows`; the first gets the identifier `first`.
    pub fn all(rows: &'a [Quarantined], first: Uuid) -> Vec<Self> {
        let mut first = Some(first);
        rows.iter()
            .map(|row| Self { id: first.take().unwrap_or_else(|| event_id(row.received_at)), row })
            .collect()
    }
}

// === impl Sums ===

impl<'a> Sums<'a> {
    /// One sum for each key, sorted by key.
    pub fn of(counts: &'a [RefusalCount]) -> Self {
        let mut sums: BTreeMap<(Timestamp, &str, &'static str), i64> = BTreeMap::new();
        for count in counts {
            *sums.entry((count.minute, &count.tenant, count.reason.label())).or_default() +=
                count.count;
        }
        let mut columns = Self::default();
        for ((minute, tenant, reason), count) in sums {
            columns.minutes.push(minute.to_utc());
            columns.tenants.push(tenant);
            columns.reasons.push(reason);
            columns.counts.push(count);
        }
        columns
    }
}

/// Copies the events; `first` becomes the identifier of the first.
pub(super) async fn copy(
    session: &mut WriterConnection,
    buffer: &mut CopyBuffer,
    rows: &[Quarantined],
    first: Uuid,
) -> Result<(), StoreError> {
    let put = |buffer: &mut CopyBuffer, event: &Event<'_>| {
        let fields = fields();
        buffer.row(fields.len());
        for (_, put) in fields {
            put(buffer, event);
        }
    };
    session.copy(COPY, buffer, &Event::all(rows, first), put).await.map(drop)
}

/// Adds to the counters; returns the transaction id, by which its outcome can be read later.
pub(super) async fn count(
    session: &mut WriterConnection,
    counts: &[RefusalCount],
    unkept: Unkept<'_>,
) -> Result<String, StoreError> {
    let Sums { minutes, tenants, reasons, counts } = Sums::of(counts);
    let ids = &unkept.batch.unkept;
    let statement = if ids.is_empty() { COUNT } else { COUNT_AND_NOTE };
    let mut query =
        sqlx::query_scalar(statement).bind(minutes).bind(tenants).bind(reasons).bind(counts);
    if !ids.is_empty() {
        let first = unkept
            .batch
            .deliveries
            .first()
            .map(|delivery| delivery.received_at)
            .unwrap_or_default();
        query = query
            .bind(unkept.client_id)
            .bind(unkept.horizon.advance().to_utc())
            .bind(first.to_utc())
            .bind(ids);
    }
    answer(query.fetch_one(&mut session.connection)).await
}

/// Whether the event `event` is stored.
pub(super) async fn event_exists(
    session: &mut WriterConnection,
    event: Uuid,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT FROM quarantine_events WHERE id = $1)")
        .bind(event);
    answer(query.fetch_one(&mut session.connection)).await
}

/// Creates the identifier of the first event of `rows`, which later proves that they are stored.
/// `None` means no rows.
pub(super) fn first_id(rows: &[Quarantined]) -> Option<Uuid> {
    rows.first().map(|row| event_id(row.received_at))
}

/// Creates a version 7 UUID: sorted by the time of receipt, so that the index grows at its end.
fn event_id(received_at: Timestamp) -> Uuid {
    let micros = received_at.micros().max(0);
    let seconds = u64::try_from(micros / MICROS_PER_SECOND).unwrap_or(0);
    let nanos = u32::try_from(micros % MICROS_PER_SECOND * 1000).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
