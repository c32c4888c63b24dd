//! Logins at the broker, stored in batches, found by name, deleted after they expire.
//!
//! It sees neither a token nor a password, and grants nothing.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::domain::broker_login::BrokerLogin;
use crate::domain::ports::{Logbook, Outage};
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::answer;

/// Rows per DELETE, so that no lock lasts long.
const PURGED_AT_ONCE: i64 = 5_000;

/// The later login wins, whichever replica writes last.
const KEEP: &str = "INSERT INTO access_sessions AS kept \
        (username, client_id, kind, subject_id, groups, scopes, logged_in_at, expires_at, proved_by) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], \
        $7::timestamptz[], $8::timestamptz[], $9::bytea[]) \
    ON CONFLICT (username, client_id) DO UPDATE SET kind = excluded.kind, subject_id = excluded.subject_id, \
        groups = excluded.groups, scopes = excluded.scopes, logged_in_at = excluded.logged_in_at, \
        expires_at = excluded.expires_at, proved_by = excluded.proved_by WHERE kept.logged_in_at <= excluded.logged_in_at";

const FIND: &str = "SELECT kind, subject_id, groups, scopes, logged_in_at, expires_at, proved_by FROM access_sessions \
    WHERE username = $1 AND client_id = $2";

const PURGE: &str = "DELETE FROM access_sessions WHERE (username, client_id) IN \
    (SELECT username, client_id FROM access_sessions WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// The logbook in Postgres.
#[derive(Clone, Debug)]
pub struct PgLogbook {
    pool: PgPool,
}

type Names = Json<Vec<Box<str>>>;
type LoginRow = (String, String, Names, Names, DateTime<Utc>, DateTime<Utc>, Option<Vec<u8>>);

// === impl PgLogbook ===

impl PgLogbook {
    /// Creates a logbook on `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

impl Logbook for PgLogbook {
    async fn keep(&self, logins: &[BrokerLogin]) -> Result<(), Outage> {
        let texts = |text: fn(&BrokerLogin) -> &str| logins.iter().map(text).collect::<Vec<_>>();
        let lists = |list: fn(&BrokerLogin) -> &[Box<str>]| {
            logins.iter().map(|login| json(list(login))).collect::<Vec<_>>()
        };
        let times = |time: fn(&BrokerLogin) -> Timestamp| {
            logins.iter().map(|login| time(login).to_utc()).collect::<Vec<_>>()
        };
        let query = sqlx::query(KEEP)
            .bind(texts(|login| &login.username))
            .bind(texts(|login| &login.client_id))
            .bind(texts(|login| &login.kind))
            .bind(texts(|login| &login.subject))
            .bind(lists(|login| &login.groups))
            .bind(lists(|login| &login.scopes))
            .bind(times(|login| login.at))
            .bind(times(|login| login.expires_at))
            .bind(
                logins
                    .iter()
                    .map(|login| login.proved_by.map(|proof| proof.to_vec()))
                    .collect::<Vec<_>>(),
            );
        answer(query.execute(&self.pool)).await?;
        Ok(())
    }

    async fn find(&self, username: &str, client_id: &str) -> Result<Option<BrokerLogin>, Outage> {
        // Postgres stores no such text and refuses it as a parameter.
        if username.contains('\0') || client_id.contains('\0') {
            return Ok(None);
        }
        let query = sqlx::query_as(FIND).bind(username).bind(client_id);
        let found: Option<LoginRow> = answer(query.fetch_optional(&self.pool)).await?;
        Ok(found.map(|(kind, subject, Json(groups), Json(scopes), at, expires_at, proved_by)| {
            BrokerLogin {
                username: username.into(),
                client_id: client_id.into(),
                kind: kind.into(),
                subject: subject.into(),
                groups,
                scopes,
                at: at.into(),
                expires_at: expires_at.into(),
                proved_by: proved_by.and_then(|proof| proof.try_into().ok()),
            }
        }))
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, Outage> {
        let mut purged = 0;
        loop {
            let query = sqlx::query(PURGE).bind(before.to_utc()).bind(PURGED_AT_ONCE);
            let deleted = answer(query.execute(&self.pool)).await?.rows_affected();
            purged += deleted;
            if deleted < PURGED_AT_ONCE.unsigned_abs() {
                return Ok(purged);
            }
        }
    }
}

fn json(names: &[Box<str>]) -> Value {
    names.iter().map(|name| Value::from(&**name)).collect()
}
