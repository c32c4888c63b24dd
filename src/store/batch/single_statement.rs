//! The usual small batch that holds refused messages: readings, events and counts in one statement, a transaction by itself.
//!
//! Two COPYs and three statements, one after the other, do the same for large ones; for a few rows their round trips cost
//! more than the rows. It takes no batch that holds anything else.

use bytes::Bytes;
use uuid::Uuid;

use super::columns::Column;
use super::quarantine_rows::{self, Event, Sums};
use super::readings;
use crate::domain::batch::Batch;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// With more rows than this, COPY makes up for its round trips.
const ROWS_MAX: usize = 100;

/// With more bytes than this, too: it takes them piece by piece, while a statement is held whole, and twice.
const BYTES_MAX: usize = 1 << 20;

/// Postgres writes the readings first, then the others, as every batch does: replicas lock alike. It does not promise to;
/// were it otherwise, two might wait for each other, and one of them would try again.
const STATEMENT: &str = "WITH refused AS ( \
        INSERT INTO quarantine_events (id, received_at, event_ts, topic, tenant_id, device_id, site_id, msg_type, reason, \
            detail, payload, token_sha256, message_id) \
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], \
            $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::uuid[])), \
    counted AS ( \
        INSERT INTO quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt) \
        SELECT * FROM unnest($14::timestamptz[], $15::text[], $16::text[], $17::bigint[]) \
        ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + excluded.cnt) \
    INSERT INTO telemetry \
        (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    SELECT * FROM unnest($18::timestamptz[], $19::timestamptz[], $20::text[], $21::text[], $22::text[], $23::text[], \
        $24::bigint[], $25::jsonb[], $26::jsonb[], $27::uuid[])";

/// Whether this batch is one of those. It has a reading at least, so that it cannot be written twice: the reading's key
/// fails the whole statement.
pub(super) fn takes(batch: &Batch) -> bool {
    let nothing_else = batch.shadows.is_empty() && batch.command_acks.is_empty() && batch.sightings.is_empty();
    let nothing_else = nothing_else && batch.unkept.is_empty();
    let of_both = !batch.readings.is_empty() && !batch.quarantined.is_empty();
    let rows = batch.readings.len() + batch.quarantined.len() + batch.refusal_counts.len();
    nothing_else && of_both && rows <= ROWS_MAX && bytes(batch) <= BYTES_MAX
}

/// Of those fields that a setting lets grow.
fn bytes(batch: &Batch) -> usize {
    let readings = batch.readings.iter().map(|row| row.metrics.len() + row.extra.as_ref().map_or(0, Bytes::len));
    let refused = batch.quarantined.iter().map(|row| row.payload.len() + row.topic.len());
    readings.chain(refused).sum()
}

/// Writes it and commits; says how many readings were stored. `first` will be the identifier of its first event.
pub(super) async fn write(session: &mut WriterConnection, batch: &Batch, first: Uuid) -> Result<u64, StoreError> {
    let events = Event::all(&batch.quarantined, first);
    let Sums { minutes, tenants, reasons, counts } = Sums::of(&batch.refusal_counts);
    let mut asked = sqlx::query(STATEMENT);
    for column in Column::all(&quarantine_rows::fields(), &events) {
        asked = asked.bind(column);
    }
    asked = asked.bind(minutes).bind(tenants).bind(reasons).bind(counts);
    for column in Column::all(&readings::FIELDS, &batch.readings) {
        asked = asked.bind(column);
    }
    Ok(answer(asked.execute(&mut session.connection)).await?.rows_affected())
}
