//! Forgets a link that the links file no longer has.
//!
//! Until then its rows stay: no message that waits is lost because a file was edited. It refuses a link
//! that a daemon still has: one that has it would count from zero. It reads no file.

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::outbox::lock_key;
use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// A backlog may have millions of rows, which are deleted whole or not at all.
const PATIENCE: &str = "SET LOCAL statement_timeout = '10min'";

/// Whether no daemon sends over the link. The lock ends with the transaction.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";

/// The replica that has reported a lane of the link within a minute.
const REPORTER: &str = "SELECT replica FROM link_status \
    WHERE link = $1 AND reported_at > now() - interval '1 minute' ORDER BY reported_at DESC LIMIT 1";

/// What belongs to the link; no row if nothing does.
const COUNT: &str = "SELECT (SELECT count(*) FROM link_outbox WHERE link = $1) AS messages, \
        (SELECT coalesce(sum(messages), 0)::bigint FROM link_gaps WHERE link = $1) AS gap_messages, \
        (SELECT count(*) FROM link_refused WHERE link = $1) AS refused \
    WHERE EXISTS (SELECT FROM link_state WHERE link = $1) OR EXISTS (SELECT FROM link_counts WHERE link = $1) \
        OR EXISTS (SELECT FROM link_outbox WHERE link = $1) OR EXISTS (SELECT FROM link_refused WHERE link = $1)";

/// All tables with rows of a link.
const FORGET: &str = "WITH waiting AS (DELETE FROM link_outbox WHERE link = $1), \
    refused AS (DELETE FROM link_refused WHERE link = $1), \
    gaps AS (DELETE FROM link_gaps WHERE link = $1), \
    counts AS (DELETE FROM link_counts WHERE link = $1), \
    status AS (DELETE FROM link_status WHERE link = $1), \
    identity AS (DELETE FROM link_identity WHERE link = $1) \
    DELETE FROM link_state WHERE link = $1";

/// What belongs to a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct LinkRemains {
    /// Messages that wait in the outbox.
    pub messages: i64,
    /// Messages of its gap, which stay in `telemetry`.
    pub gap_messages: i64,
    /// Dead letters.
    pub refused: i64,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// This was deleted, or would be.
    Done(LinkRemains),
    /// Nothing belongs to this link.
    Unknown,
    /// A daemon sends over the link.
    Claimed,
    /// This replica has reported a lane of the link within a minute.
    Reported(String),
}

/// Deletes everything of the link. The caller has checked that the links file does not have it.
pub async fn forget(pool: &PgPool, actor: &Actor, link: &LinkName) -> Result<Forgetting, Outage> {
    Ok(run(pool, Some(actor), link).await.map_err(StoreError::from)?)
}

/// What [`forget`] would do; it changes nothing.
pub async fn would_forget(pool: &PgPool, link: &LinkName) -> Result<Forgetting, Outage> {
    Ok(run(pool, None, link).await.map_err(StoreError::from)?)
}

// === private helpers ===

/// Without an actor it only counts.
async fn run(
    pool: &PgPool,
    actor: Option<&Actor>,
    link: &LinkName,
) -> Result<Forgetting, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(PATIENCE).execute(&mut *tx).await?;
    let inspected = inspect(&mut tx, link).await?;
    let (Ok(remains), Some(actor)) = (&inspected, actor) else {
        // The lock is free when this returns.
        tx.rollback().await?;
        return Ok(inspected.map_or_else(|refused| refused, Forgetting::Done));
    };
    sqlx::query(FORGET).bind(link.as_str()).execute(&mut *tx).await?;
    let detail = json!({
        "link": link.as_str(), "messages": remains.messages,
        "gap_messages": remains.gap_messages, "refused": remains.refused,
    });
    let action = "link.forget";
    audit::record(&mut tx, Entry { actor, action, tenant: None, device: None, detail }).await?;
    tx.commit().await?;
    Ok(Forgetting::Done(*remains))
}

/// What there is, or why it stays.
async fn inspect(
    connection: &mut PgConnection,
    link: &LinkName,
) -> Result<Result<LinkRemains, Forgetting>, sqlx::Error> {
    let lock = sqlx::query_scalar(LOCK).bind(lock_key(link));
    if !lock.fetch_one(&mut *connection).await? {
        return Ok(Err(Forgetting::Claimed));
    }
    let reporter = sqlx::query_scalar(REPORTER).bind(link.as_str());
    if let Some(replica) = reporter.fetch_optional(&mut *connection).await? {
        return Ok(Err(Forgetting::Reported(replica)));
    }
    let count = sqlx::query_as(COUNT).bind(link.as_str());
    Ok(count.fetch_optional(connection).await?.ok_or(Forgetting::Unknown))
}
