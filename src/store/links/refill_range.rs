//! Sends a range of `telemetry` again over a link, for a person who wants it.
//!
//! It looks at no gap and at no bound: the person has chosen the range. A message that was sent before
//! is sent twice, with the same identity. Messages that came over a link are left out, as in
//! [`super::gap`].

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::queued_rows::COMMANDS;
use super::rebuilt_payload::TelemetryMessage;
use super::refilled_rows::{self, RefillSums, message_columns};
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

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

/// The messages that Sluice received from `since` on and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefillRange {
    /// The first time.
    pub since: Timestamp,
    /// The first time that is not part of it.
    pub until: Timestamp,
}

/// Whether the messages are queued or only counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefillMode {
    Queues,
    Counts,
}

/// Puts the messages of the range into the outbox, in the order of receipt; returns what they are. The
/// audit log has an entry from before the first one, and one with the sums.
pub async fn refill_range(
    pool: &PgPool,
    actor: &Actor,
    routes: &LinkRoutes,
    range: RefillRange,
) -> Result<RefillSums, Outage> {
    note(pool, actor, "link.refill", routes, range, None).await?;
    let sums = walk(pool, routes, range, RefillMode::Queues).await?;
    note(pool, actor, "link.refill-done", routes, range, Some(sums)).await?;
    Ok(sums)
}

/// Counts the messages that [`refill_range`] would queue, and changes nothing.
pub async fn count_range(
    pool: &PgPool,
    routes: &LinkRoutes,
    range: RefillRange,
) -> Result<RefillSums, Outage> {
    Ok(walk(pool, routes, range, RefillMode::Counts).await?)
}

// === private helpers ===

async fn note(
    pool: &PgPool,
    actor: &Actor,
    action: &'static str,
    routes: &LinkRoutes,
    range: RefillRange,
    sums: Option<RefillSums>,
) -> Result<(), StoreError> {
    let detail = json!({
        "link": routes.link.as_str(),
        "since": range.since.to_string(),
        "until": range.until.to_string(),
        "messages": sums.map(|sums| sums.messages),
        "bytes": sums.map(|sums| sums.bytes),
    });
    let mut connection = pool.acquire().await?;
    let entry = Entry { actor, action, tenant: None, device: None, detail };
    Ok(audit::record(&mut connection, entry).await?)
}

async fn walk(
    pool: &PgPool,
    routes: &LinkRoutes,
    range: RefillRange,
    mode: RefillMode,
) -> Result<RefillSums, StoreError> {
    let (mut from, end) = (range.since.to_utc(), range.until.to_utc());
    let mut sums = RefillSums::default();
    while from < end {
        let to = end.min(from + SPAN);
        walk_span(pool, routes, (from, to), mode, &mut sums).await?;
        from = to;
    }
    Ok(sums)
}

async fn walk_span(
    pool: &PgPool,
    routes: &LinkRoutes,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    mode: RefillMode,
    sums: &mut RefillSums,
) -> Result<(), StoreError> {
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
        if mode == RefillMode::Queues {
            refilled_rows::queue(&mut tx, routes, COMMANDS, &rows).await?;
        }
        tx.commit().await?;
        sums.add(routes, &rows);
        match rows.last() {
            Some(last) if i64::try_from(rows.len()).is_ok_and(|count| count >= CHUNK) => {
                after = (last.received_at, last.message_id);
            }
            _ => return Ok(()),
        }
    }
}
