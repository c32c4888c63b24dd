//! The audit log: who changed what. An entry is written in the transaction of its change. Who looked
//! at the live tail has an entry, too.
//!
//! It only inserts rows. No entry contains a token, its hash, or a payload of a device.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::domain::ports::Outage;
use crate::store::error::StoreError;

/// Maximum length of an actor, in characters; a longer one is truncated.
const ACTOR_MAX: usize = 128;

/// The author of a change: `cli:alice`, `api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

/// One change.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its author.
    pub actor: &'a Actor,
    /// The action, as `<thing>.<verb>`.
    pub action: &'static str,
    /// The tenant it concerns.
    pub tenant: Option<&'a str>,
    /// The device it concerns.
    pub device: Option<&'a str>,
    /// The change itself, a JSON object.
    pub detail: Value,
}

/// Inserts `entry`; it takes effect when the transaction commits.
pub async fn record(connection: &mut PgConnection, entry: Entry<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO audit_log (actor, action, tenant_id, device_id, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(&entry.actor.0)
        .bind(entry.action)
        .bind(entry.tenant)
        .bind(entry.device)
        .bind(entry.detail)
        .execute(connection)
        .await
        .map(drop)
}

/// Inserts `entry` at once, for what people look at: there is no transaction of a change.
pub(crate) async fn note(pool: &PgPool, entry: Entry<'_>) -> Result<(), Outage> {
    let noted = async { record(&mut *pool.acquire().await?, entry).await };
    noted.await.map_err(|error| StoreError::from(error).into())
}

// === impl Actor ===

impl Actor {
    /// Creates an actor from `name` without its unprintable characters.
    pub fn new(name: &str) -> Self {
        Self(name.chars().filter(|character| !character.is_control()).take(ACTOR_MAX).collect())
    }

    /// A person at the console.
    pub fn of_console(name: &str) -> Self {
        Self::new(&format!("console:{name}"))
    }

    /// The name, as the table stores it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
