//! The replicas on one broker, read from the table of broker sessions: client ids and user names.
//!
//! It writes its own user name into its own row and changes nothing else.

use sqlx::PgPool;

use crate::domain::ports::{Outage, Replica, Roster};
use crate::store::connection::writer_connection::answer;

/// A row exists from the first start of a replica until an operator deletes it.
const NOTE: &str = "UPDATE broker_sessions SET username = $2 WHERE client_id = $1 AND username IS DISTINCT FROM $2::text";

/// Bounded; the latest rows come first.
const LIST: &str = "SELECT client_id, username FROM broker_sessions ORDER BY subscribed_at DESC NULLS FIRST, client_id LIMIT 1000";

/// The roster in Postgres.
#[derive(Clone, Debug)]
pub struct PgRoster {
    pool: PgPool,
    client_id: String,
    username: Option<String>,
}

// === impl PgRoster ===

impl PgRoster {
    /// Creates a roster on `pool` for the replica `client_id`.
    pub fn new(pool: PgPool, client_id: String, username: Option<String>) -> Self {
        Self { pool, client_id, username }
    }
}

impl Roster for PgRoster {
    async fn replicas(&self) -> Result<Vec<Replica>, Outage> {
        let note = sqlx::query(NOTE).bind(&self.client_id).bind(&self.username);
        answer(note.execute(&self.pool)).await?;
        let rows: Vec<(String, Option<String>)> =
            answer(sqlx::query_as(LIST).fetch_all(&self.pool)).await?;
        let replica = |(client_id, username): (String, Option<String>)| Replica {
            client_id: client_id.into(),
            username: username.map(Into::into),
        };
        Ok(rows.into_iter().map(replica).collect())
    }
}
