//! Writes a small batch with refused messages, or with messages that links forward: readings, and
//! events with counts or rows of the outbox, in one statement, which is its own transaction.
//!
//! Larger batches take two COPYs and three statements; for a few rows their round trips cost more
//! than the rows. It accepts no batch with other rows.

use bytes::Bytes;
use uuid::Uuid;

use super::columns::Column;
use super::forward_rows::{ForwardRows, enqueue};
use super::quarantine_rows::{self, Event, Sums};
use super::readings;
use super::roomy_link::{Query, RoomyLink, enqueue_roomy};
use crate::domain::batch::Batch;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Above this number of rows COPY is faster.
const ROWS_MAX: usize = 100;

/// Above this size COPY is used: it sends pieces, while a statement is held in memory twice.
const BYTES_MAX: usize = 1 << 20;

/// Postgres writes the readings first, as every batch does, so replicas lock in the same order. It
/// does not guarantee the order; another order could cause a deadlock, after which one replica
/// retries.
const STATEMENT: &str = "WITH refused AS ( \
        INSERT INTO quarantine_events (id, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type, reason, \
            detail, payload, token_sha256, message_id, link, publisher, publisher_certificate) \
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], \
            $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::uuid[], $14::text[], $15::text[], \
            $16::text[])), \
    counted AS ( \
        INSERT INTO quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt) \
        SELECT * FROM unnest($17::timestamptz[], $18::text[], $19::text[], $20::bigint[]) \
        ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + excluded.cnt) \
    INSERT INTO telemetry \
        (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
    SELECT * FROM unnest($21::timestamptz[], $22::timestamptz[], $23::text[], $24::text[], $25::text[], $26::text[], \
        $27::bigint[], $28::jsonb[], $29::jsonb[], $30::uuid[], $31::text[], $32::uuid[])";

/// The parameters after those of the outbox.
const FORWARDING: &str = concat!(
    "WITH ",
    enqueue!(),
    " INSERT INTO telemetry \
        (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
    SELECT * FROM unnest($21::timestamptz[], $22::timestamptz[], $23::text[], $24::text[], $25::text[], $26::text[], \
        $27::bigint[], $28::jsonb[], $29::jsonb[], $30::uuid[], $31::text[], $32::uuid[])"
);

/// The same where one link has room; it writes nothing where the gate is closed.
const FORWARDING_ROOMY: &str = concat!(
    "WITH ",
    enqueue_roomy!(),
    " INSERT INTO telemetry \
        (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
    SELECT * FROM unnest($17::timestamptz[], $18::timestamptz[], $19::text[], $20::text[], $21::text[], $22::text[], \
        $23::bigint[], $24::jsonb[], $25::jsonb[], $26::uuid[], $27::text[], $28::uuid[]) WHERE EXISTS (SELECT FROM gate)"
);

/// Whether [`write_forwarding`] can write `batch`: it has readings and rows for links, and nothing
/// else.
pub(super) fn takes_forwarding(batch: &Batch) -> bool {
    let nothing_else =
        batch.shadows.is_empty() && batch.command_acks.is_empty() && batch.sightings.is_empty();
    let nothing_else = nothing_else && batch.events().next().is_none();
    let nothing_refused =
        batch.quarantined.is_empty() && batch.refusal_counts.is_empty() && batch.unkept.is_empty();
    let of_both = !batch.readings.is_empty() && !batch.forwards.is_empty();
    let rows = batch.readings.len() + batch.forwards.len();
    let size = |batch: &Batch| {
        bytes(batch) + batch.forwards.iter().map(|row| row.payload.len()).sum::<usize>()
    };
    nothing_else && nothing_refused && of_both && rows <= ROWS_MAX && size(batch) <= BYTES_MAX
}

/// Writes `batch` and commits; returns the number of stored readings. `writer` is the name of the
/// replica.
pub(super) async fn write_forwarding(
    session: &mut WriterConnection,
    batch: &Batch,
    writer: &str,
) -> Result<u64, StoreError> {
    let rows = ForwardRows::effective(&batch.forwards, None);
    if let Some(roomy) = RoomyLink::of(session, writer, &rows) {
        let query = roomy.bind(sqlx::query(FORWARDING_ROOMY));
        let stored = execute_with_readings(session, query, batch).await?;
        if RoomyLink::learn(session, stored > 0) {
            return Ok(stored);
        }
    }
    let query = ForwardRows { writer, rows: &rows }.bind(sqlx::query(FORWARDING));
    execute_with_readings(session, query, batch).await
}

/// Binds the readings and executes; returns their number.
async fn execute_with_readings<'q>(
    session: &mut WriterConnection,
    mut query: Query<'q>,
    batch: &'q Batch,
) -> Result<u64, StoreError> {
    for column in Column::all(&readings::FIELDS, &batch.readings) {
        query = query.bind(column);
    }
    Ok(answer(query.execute(&mut session.connection)).await?.rows_affected())
}

/// Whether [`write`] can write `batch`. The batch needs a reading: its key fails a second execution
/// of the statement.
pub(super) fn takes(batch: &Batch) -> bool {
    let nothing_else =
        batch.shadows.is_empty() && batch.command_acks.is_empty() && batch.sightings.is_empty();
    let nothing_else = nothing_else
        && batch.unkept.is_empty()
        && batch.forwards.is_empty()
        && batch.events().next().is_none();
    let of_both = !batch.readings.is_empty() && !batch.quarantined.is_empty();
    let rows = batch.readings.len() + batch.quarantined.len() + batch.refusal_counts.len();
    nothing_else && of_both && rows <= ROWS_MAX && bytes(batch) <= BYTES_MAX
}

/// Bytes of the fields whose size depends on settings.
fn bytes(batch: &Batch) -> usize {
    let readings = batch
        .readings
        .iter()
        .map(|row| row.metrics.len() + row.extra.as_ref().map_or(0, Bytes::len));
    let refused = batch.quarantined.iter().map(|row| row.payload.len() + row.topic.len());
    readings.chain(refused).sum()
}

/// Writes `batch` and commits; returns the number of stored readings. `first` becomes the
/// identifier of the first event.
pub(super) async fn write(
    session: &mut WriterConnection,
    batch: &Batch,
    first: Uuid,
) -> Result<u64, StoreError> {
    let events = Event::all(&batch.quarantined, first);
    let Sums { minutes, tenants, reasons, counts } = Sums::of(&batch.refusal_counts);
    let mut query = sqlx::query(STATEMENT);
    for column in Column::all(&quarantine_rows::fields(), &events) {
        query = query.bind(column);
    }
    query = query.bind(minutes).bind(tenants).bind(reasons).bind(counts);
    for column in Column::all(&readings::FIELDS, &batch.readings) {
        query = query.bind(column);
    }
    Ok(answer(query.execute(&mut session.connection)).await?.rows_affected())
}
