//! The dead letters for people: list them, put them back into the outbox, or delete them.
//!
//! It judges no message: what is put back is sent as it is.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::queued_rows::COMMANDS;
use crate::domain::link::LinkName;
use crate::domain::outbox::DeadLetterCause;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// Dead letters of one transaction, so that no lock lasts long.
const CHUNK: i64 = 1_000;

/// Which dead letters; all fields unset means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedFilter {
    /// Of this link.
    pub link: Option<LinkName>,
    /// One of these; empty means any.
    pub ids: Vec<i64>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this device.
    pub device: Option<String>,
    /// Refused for this reason.
    pub reason: Option<DeadLetterCause>,
    /// Refused at this moment or later.
    pub since: Option<Timestamp>,
    /// Refused before this moment.
    pub until: Option<Timestamp>,
}

/// The position of a dead letter in time order, where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPlace {
    /// When it was refused.
    pub at: Timestamp,
    /// Its link.
    pub link: String,
    /// Its identifier.
    pub id: i64,
}

/// What a list shows of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DeadLetter {
    /// The link.
    pub link: String,
    /// Its identifier, unique within the link.
    pub id: i64,
    /// The tenant.
    pub tenant_id: String,
    /// The device.
    pub device_id: String,
    /// The path of the local topic after the device.
    pub msg_type: String,
    /// The topic at the other broker.
    pub topic: String,
    /// How it is encoded.
    pub mode: String,
    /// The time of the row.
    pub time: DateTime<Utc>,
    /// When Sluice received it.
    pub received_at: DateTime<Utc>,
    /// The hash that identifies it.
    pub message_id: Uuid,
    /// Bytes of its payload.
    pub payload_bytes: i32,
    /// Why it was refused.
    pub reason: String,
    /// The reason code of the other broker.
    pub code: Option<i16>,
    /// The reason in words.
    pub detail: String,
    /// When it was refused.
    pub refused_at: DateTime<Utc>,
}

/// Puts the rows of `gone` at the end of their lanes, in their order, and counts them.
const PUT_BACK: &str = "counted AS ( \
        INSERT INTO link_counts AS c (link, writer, messages, bytes) \
        SELECT link, '";
const PUT_BACK_ROWS: &str = "', count(*), sum(octet_length(payload) + octet_length(topic) + 100) \
        FROM gone GROUP BY link ORDER BY link \
        ON CONFLICT (link, writer) DO UPDATE SET \
            messages = c.messages + excluded.messages, bytes = c.bytes + excluded.bytes) \
    INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, via) \
    SELECT link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id, via \
    FROM gone ORDER BY id";

/// Lists a page of dead letters before `before`, newest first.
pub async fn list_refused(
    pool: &PgPool,
    filter: &RefusedFilter,
    before: Option<&RefusedPlace>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Outage> {
    let mut query = QueryBuilder::new(
        "SELECT link, id, tenant_id, device_id, msg_type, topic, mode, time, received_at, message_id, \
            octet_length(payload) AS payload_bytes, reason, code, detail, refused_at \
        FROM link_refused WHERE ",
    );
    filter.push_to(&mut query);
    if let Some(before) = before {
        query.push(" AND (refused_at, link, id) < (").push_bind(before.at.to_utc());
        query.push(", ").push_bind(before.link.clone());
        query.push(", ").push_bind(before.id).push(")");
    }
    query.push(" ORDER BY refused_at DESC, link DESC, id DESC LIMIT ").push_bind(i64::from(limit));
    Ok(query.build_query_as().fetch_all(pool).await.map_err(StoreError::from)?)
}

/// Puts dead letters back into the outbox, the oldest first, at most `limit`; returns their number.
pub async fn retry_refused(
    pool: &PgPool,
    actor: &Actor,
    filter: &RefusedFilter,
    limit: u32,
) -> Result<u64, Outage> {
    in_chunks(pool, actor, "link.retry-refused", filter, limit, true).await
}

/// Deletes dead letters, the oldest first, at most `limit`; returns their number.
pub async fn discard_refused(
    pool: &PgPool,
    actor: &Actor,
    filter: &RefusedFilter,
    limit: u32,
) -> Result<u64, Outage> {
    in_chunks(pool, actor, "link.discard-refused", filter, limit, false).await
}

// === impl DeadLetter ===

impl DeadLetter {
    /// Its position in time order.
    pub fn place(&self) -> RefusedPlace {
        RefusedPlace { at: self.refused_at.into(), link: self.link.clone(), id: self.id }
    }
}

// === impl RefusedFilter ===

impl RefusedFilter {
    pub(super) fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("true");
        if let Some(link) = &self.link {
            query.push(" AND link = ").push_bind(link.as_str().to_owned());
        }
        if !self.ids.is_empty() {
            query.push(" AND id = ANY (").push_bind(self.ids.clone()).push(")");
        }
        if let Some(tenant) = &self.tenant {
            query.push(" AND tenant_id = ").push_bind(tenant.clone());
        }
        if let Some(device) = &self.device {
            query.push(" AND device_id = ").push_bind(device.clone());
        }
        if let Some(reason) = self.reason {
            query.push(" AND reason = ").push_bind(reason.label());
        }
        if let Some(since) = self.since {
            query.push(" AND refused_at >= ").push_bind(since.to_utc());
        }
        if let Some(until) = self.until {
            query.push(" AND refused_at < ").push_bind(until.to_utc());
        }
    }
}

// === private helpers ===

async fn in_chunks(
    pool: &PgPool,
    actor: &Actor,
    action: &'static str,
    filter: &RefusedFilter,
    limit: u32,
    puts_back: bool,
) -> Result<u64, Outage> {
    let mut total = 0;
    loop {
        let chunk = CHUNK.min(i64::from(limit).saturating_sub(i64::try_from(total).unwrap_or(0)));
        if chunk <= 0 {
            return Ok(total);
        }
        let done = one_chunk(pool, actor, action, filter, chunk, puts_back);
        let done = done.await.map_err(StoreError::from)?;
        total += done;
        if done < chunk.unsigned_abs() {
            return Ok(total);
        }
    }
}

async fn one_chunk(
    pool: &PgPool,
    actor: &Actor,
    action: &'static str,
    filter: &RefusedFilter,
    chunk: i64,
    puts_back: bool,
) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let mut query = QueryBuilder::new(
        "WITH gone AS (DELETE FROM link_refused WHERE (link, id) IN (SELECT link, id FROM link_refused WHERE ",
    );
    filter.push_to(&mut query);
    query.push(" ORDER BY refused_at, link, id LIMIT ").push_bind(chunk);
    query.push(" FOR UPDATE SKIP LOCKED) RETURNING *)");
    if puts_back {
        query.push(", ").push(PUT_BACK).push(COMMANDS).push(PUT_BACK_ROWS);
    } else {
        query.push(" SELECT FROM gone");
    }
    let done = query.build().execute(&mut *tx).await?.rows_affected();
    if done > 0 {
        let link = filter.link.as_ref().map(LinkName::as_str);
        let detail = json!({ "link": link, "messages": done });
        let tenant = filter.tenant.as_deref();
        audit::record(&mut tx, Entry { actor, action, tenant, device: None, detail }).await?;
    }
    tx.commit().await?;
    Ok(done)
}
