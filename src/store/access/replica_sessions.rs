//! The sessions of all replicas: which of them run, which are orphaned, and their removal.
//!
//! A replica counts as seen from the start of Postgres on: while Postgres was away, none could note
//! that it runs. It talks to no broker.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;

use crate::domain::broker_subscription::Subscribed;
use crate::domain::ports::Outage;
use crate::domain::replica::{ReplicaSession, ReplicaState};
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// When a replica was last seen; a version that does not note it counts for an hour.
macro_rules! seen {
    () => {
        "greatest(coalesce(seen_at, subscribed_at + interval '1 hour'), pg_postmaster_start_time())"
    };
}

pub(in crate::store) use seen;

/// Bounded; a fleet of replicas is far smaller.
const LIST: &str = concat!(
    "SELECT client_id, broker, subscribed_at, filters, \
        extract(epoch FROM now() - ",
    seen!(),
    ")::float8 AS seen_ago FROM broker_sessions WHERE coalesce(seen_at, subscribed_at) IS NOT NULL \
    ORDER BY client_id LIMIT 1000"
);

const FORGET: &str = "DELETE FROM broker_sessions WHERE client_id = $1";

/// A replica that is back has noted itself meanwhile, and its row stays.
const FORGET_UNSEEN: &str = concat!(
    "DELETE FROM broker_sessions WHERE client_id = $1 AND extract(epoch FROM now() - ",
    seen!(),
    ") > $2"
);

/// The lock of an adoption, by the client id, or of a drain, by the filter.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('sluice ' || $1 || ' ' || $2, 0))";

#[derive(sqlx::FromRow)]
struct ReplicaSessionRow {
    client_id: String,
    broker: Option<String>,
    subscribed_at: Option<DateTime<Utc>>,
    filters: Vec<String>,
    seen_ago: f64,
}

/// The right to adopt a session, or to leave a group; it ends with this connection.
pub struct ReplicaLock {
    _connection: WriterConnection,
}

/// What the audit log says of a session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct SessionEnding<'a> {
    /// The replica whose session it was.
    pub client_id: &'a str,
    /// Who ordered it.
    pub actor: &'a Actor,
    /// `replica.drain` or `replica.adopt`.
    pub action: &'static str,
    /// How many messages were taken in.
    pub messages: u64,
}

/// All sessions; those not seen for `orphan_after` do not run.
pub async fn list(pool: &PgPool, orphan_after: Duration) -> Result<Vec<ReplicaSession>, Outage> {
    let rows: Vec<ReplicaSessionRow> = answer(sqlx::query_as(LIST).fetch_all(pool)).await?;
    Ok(rows.into_iter().map(|row| row.session(orphan_after)).collect())
}

/// Removes the row of a session that has ended, and records it. With `unseen_for`, a replica that noted
/// itself since then keeps its row. Returns whether there was a row.
pub async fn forget(
    pool: &PgPool,
    ending: SessionEnding<'_>,
    unseen_for: Option<Duration>,
) -> Result<bool, Outage> {
    forget_row(pool, ending, unseen_for).await.map_err(|error| StoreError::from(error).into())
}

/// The right to adopt the session of `client_id`; `None`: another replica has it.
pub async fn lock_adoption(
    database: &Database,
    client_id: &str,
) -> Result<Option<ReplicaLock>, Outage> {
    lock(database, ("adopt", client_id)).await
}

/// The right to leave the group of this filter; `None`: another member leaves it now.
pub async fn lock_leaving(
    database: &Database,
    filter: &str,
) -> Result<Option<ReplicaLock>, Outage> {
    lock(database, ("drain", filter)).await
}

// === impl ReplicaSessionRow ===

impl ReplicaSessionRow {
    fn session(self, orphan_after: Duration) -> ReplicaSession {
        let Self { client_id, broker, subscribed_at, filters, seen_ago } = self;
        let subscribed =
            broker.zip(subscribed_at).map(|(broker, at)| Subscribed { broker, at: at.into() });
        let state = ReplicaState::of(seen_ago < orphan_after.as_secs_f64(), &filters);
        ReplicaSession { client_id, subscribed, filters, seen_seconds_ago: seen_ago, state }
    }
}

// --- private helpers ---

async fn lock(
    database: &Database,
    (action, name): (&str, &str),
) -> Result<Option<ReplicaLock>, Outage> {
    let mut connection = WriterConnection::open(database.bounded_options()).await?;
    let query = sqlx::query_scalar(LOCK).bind(action).bind(name);
    let is_free: bool = answer(query.fetch_one(&mut connection.connection)).await?;
    Ok(is_free.then_some(ReplicaLock { _connection: connection }))
}

async fn forget_row(
    pool: &PgPool,
    ending: SessionEnding<'_>,
    unseen_for: Option<Duration>,
) -> Result<bool, sqlx::Error> {
    let SessionEnding { client_id, actor, action, messages } = ending;
    let mut transaction = pool.begin().await?;
    let delete = match unseen_for {
        None => sqlx::query(FORGET).bind(client_id),
        Some(unseen) => sqlx::query(FORGET_UNSEEN).bind(client_id).bind(unseen.as_secs_f64()),
    };
    let had_row = delete.execute(&mut *transaction).await?.rows_affected() > 0;
    let detail: Value = serde_json::json!({ "client_id": client_id, "messages": messages });
    let entry = Entry { actor, action, tenant: None, device: None, detail };
    audit::record(&mut transaction, entry).await?;
    transaction.commit().await?;
    Ok(had_row)
}
