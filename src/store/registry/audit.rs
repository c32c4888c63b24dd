//! The log of who changed what. An entry rides in the transaction of its change, so there is neither without the other.
//!
//! Rows are only ever added here; no entry holds a token, its hash, or a payload.

use serde_json::Value;
use sqlx::PgConnection;

/// The longest actor that is kept, in characters; a longer one is cut.
const ACTOR_MAX: usize = 128;

/// Who makes a change: `cli:alice`, `api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

/// One change.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Who made it.
    pub actor: &'a Actor,
    /// What was done, as `<thing>.<verb>`.
    pub action: &'static str,
    /// Whose tenant it concerns.
    pub tenant: Option<&'a str>,
    /// Which device it concerns.
    pub device: Option<&'a str>,
    /// The change itself, a JSON object.
    pub detail: Value,
}

/// Adds the entry; it stands once the transaction commits.
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

// === impl Actor ===

impl Actor {
    /// An actor of this name; what cannot be printed is left out.
    pub fn new(name: &str) -> Self {
        Self(name.chars().filter(|character| !character.is_control()).take(ACTOR_MAX).collect())
    }
}
