//! Sends a range of `telemetry` again over a link, for a person who wants it.
//!
//! It looks at no gap and at no bound: the person has chosen the range. A message that was sent before
//! is sent twice, with the same identity. Messages that came over a link are left out, as in
//! [`super::gap`].

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::queued_rows::COMMANDS;
use super::rebuilt_payload::TelemetryMessage;
use super::refilled_rows::{self, message_columns};
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// Rows of one transaction.
const CHUNK: i64 = 1_000;

/// A time that is read at once, so that the database sorts few rows.
const SPAN: TimeDelta = TimeDelta::minutes(10);

/// A page of a span, after the last row of the page before.
const READ: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM telemetry WHERE received_at >= $1 AND received_at < $2 \
        AND (received_at, message_id) > ($3, $4) AND link IS NULL \
      ORDER BY received_at, message_id LIMIT $5"
);

/// Puts the messages that Sluice received in this range into the outbox, in the order of receipt;
/// returns their number.
pub async fn refill_range(
    pool: &PgPool,
    routes: &LinkRoutes,
    since: Timestamp,
    until: Timestamp,
) -> Result<u64, Outage> {
    let (mut from, end) = (since.to_utc(), until.to_utc());
    let mut queued = 0;
    while from < end {
        let to = end.min(from + SPAN);
        queued += refill_span(pool, routes, from, to).await?;
        from = to;
    }
    Ok(queued)
}

async fn refill_span(
    pool: &PgPool,
    routes: &LinkRoutes,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut queued = 0;
    let mut after = (from - TimeDelta::microseconds(1), Uuid::max());
    loop {
        let mut tx = pool.begin().await?;
        let rows: Vec<TelemetryMessage> = sqlx::query_as(READ)
            .bind(from)
            .bind(to)
            .bind(after.0)
            .bind(after.1)
            .bind(CHUNK)
            .fetch_all(&mut *tx)
            .await?;
        queued += refilled_rows::queue(&mut tx, routes, COMMANDS, &rows).await?;
        tx.commit().await?;
        match rows.last() {
            Some(last) if i64::try_from(rows.len()).is_ok_and(|count| count >= CHUNK) => {
                after = (last.received_at, last.message_id);
            }
            _ => return Ok(queued),
        }
    }
}
