//! Writes refused messages: the events as they are, the counters as sums. It judges nothing and drops nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::copy::CopyBuffer;
use super::session::{Session, answer};
use super::token::to_hex;
use super::trouble::Trouble;
use crate::domain::batch::{Quarantined, RefusalCount};
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// The columns, in the order of [`encode`]; `quarantined_at` is the database's time.
const COPY: &str = "COPY quarantine_events \
    (id, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type, reason, detail, payload, token_sha256, message_id) \
    FROM STDIN (FORMAT binary)";

/// How many they are.
const FIELDS: i16 = 13;

/// Adds up, in the order of the key so that replicas lock alike, and says which transaction this is.
const COUNT: &str = "WITH counted AS ( \
    INSERT INTO quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt) \
    SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[]) \
    ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + excluded.cnt) \
    SELECT pg_current_xact_id()::text";

/// Copies the events; returns the identifier of the first, by which it can be asked later whether they are there.
pub(super) async fn copy(
    session: &mut Session,
    buffer: &mut CopyBuffer,
    rows: &[Quarantined],
) -> Result<Option<Uuid>, Trouble> {
    let Some(first) = rows.first() else { return Ok(None) };
    let first = event_id(first.received_at);
    session.copy(COPY, encode(buffer, rows, first)).await?;
    Ok(Some(first))
}

/// Adds to the counters; returns the transaction's own number, by which its fate can be asked for later.
pub(super) async fn count(session: &mut Session, counts: &[RefusalCount]) -> Result<String, Trouble> {
    let mut sums: BTreeMap<(Timestamp, &str, &str), i64> = BTreeMap::new();
    for count in counts {
        *sums.entry((count.minute, &count.tenant, count.reason.label())).or_default() += count.count;
    }
    let minutes: Vec<DateTime<Utc>> = sums.keys().map(|(minute, ..)| minute.to_utc()).collect();
    let tenants: Vec<&str> = sums.keys().map(|(_, tenant, _)| *tenant).collect();
    let reasons: Vec<&str> = sums.keys().map(|(.., reason)| *reason).collect();
    let counts: Vec<i64> = sums.into_values().collect();
    let asked = sqlx::query_scalar(COUNT).bind(minutes).bind(tenants).bind(reasons).bind(counts);
    answer(asked.fetch_one(&mut session.connection)).await
}

fn encode<'buffer>(buffer: &'buffer mut CopyBuffer, rows: &[Quarantined], first: Uuid) -> &'buffer [u8] {
    buffer.start();
    let mut first = Some(first);
    for row in rows {
        buffer.row(FIELDS);
        buffer.uuid(first.take().unwrap_or_else(|| event_id(row.received_at)));
        buffer.timestamp(row.received_at);
        buffer.timestamp_or_null(row.event_time);
        buffer.clean_text(&row.topic);
        buffer.clean_text_or_null(row.tenant.as_deref());
        buffer.clean_text_or_null(row.device.as_deref());
        buffer.clean_text_or_null(row.site.as_deref());
        buffer.clean_text_or_null(row.msg_type.as_deref());
        buffer.bytes(row.refusal.reason.label().as_bytes());
        buffer.clean_text(&row.refusal.detail);
        buffer.bytes(&row.payload);
        match &row.token {
            Some(token) => buffer.bytes(&to_hex(token)),
            None => buffer.null(),
        }
        buffer.uuid(row.message_id);
    }
    buffer.finish()
}

/// A version 7 identifier: sorted by the time of receipt, so that the index grows at its end.
fn event_id(received_at: Timestamp) -> Uuid {
    let micros = received_at.micros().max(0);
    let seconds = u64::try_from(micros / MICROS_PER_SECOND).unwrap_or(0);
    let nanos = u32::try_from(micros % MICROS_PER_SECOND * 1000).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
