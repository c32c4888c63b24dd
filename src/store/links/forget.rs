//! Forgets a link that the links file no longer has.
//!
//! Until then its rows stay: no message that waits is lost because a file was edited.

use serde_json::json;
use sqlx::PgPool;

use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// All tables with rows of a link, but `link_outbox`.
const FORGET: &str = "WITH refused AS (DELETE FROM link_refused WHERE link = $1), \
    gaps AS (DELETE FROM link_gaps WHERE link = $1), \
    counts AS (DELETE FROM link_counts WHERE link = $1), \
    status AS (DELETE FROM link_status WHERE link = $1), \
    identity AS (DELETE FROM link_identity WHERE link = $1) \
    DELETE FROM link_state WHERE link = $1";

/// Deletes everything of the link; returns the number of messages that waited for it. The caller has
/// checked that no daemon has the link any more: one that has would count from zero.
pub async fn forget(pool: &PgPool, actor: &Actor, link: &LinkName) -> Result<u64, Outage> {
    Ok(forget_rows(pool, actor, link).await.map_err(StoreError::from)?)
}

async fn forget_rows(pool: &PgPool, actor: &Actor, link: &LinkName) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let waiting = sqlx::query("DELETE FROM link_outbox WHERE link = $1").bind(link.as_str());
    let waiting = waiting.execute(&mut *tx).await?.rows_affected();
    sqlx::query(FORGET).bind(link.as_str()).execute(&mut *tx).await?;
    let detail = json!({ "link": link.as_str(), "messages": waiting });
    let action = "link.forget";
    audit::record(&mut tx, Entry { actor, action, tenant: None, device: None, detail }).await?;
    tx.commit().await?;
    Ok(waiting)
}
