//! Expires certificates, revokes those whose retirement is due, and counts
//! certificates by status.
//!
//! It deletes no row. Replicas may call it at the same time: one runs the round, the others find no
//! rows due.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{CertificateStatus, NOT_REPLACED};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// The revocation reason (RFC 5280) of a replaced certificate.
pub(super) const SUPERSEDED: &str = "superseded";

/// The advisory lock of a round.
const ADVISORY_KEY: i64 = 0x736c_7569_6365_0002;

/// Rows per statement: when a whole fleet expires at once, no lock lasts long.
const ROWS_AT_ONCE: i64 = 2_000;

const EXPIRE: &str = "WITH due AS ( \
        SELECT id FROM device_certificates WHERE status = 'ACTIVE' AND not_after <= least(now(), $2) \
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED), \
    done AS ( \
        UPDATE device_certificates c SET status = 'EXPIRED' FROM due WHERE c.id = due.id RETURNING c.id, c.tenant_id, c.device_id) \
    INSERT INTO audit_log (actor, action, tenant_id, device_id, detail) \
    SELECT 'keeper', 'certificate.expire', tenant_id, device_id, jsonb_build_object('id', id) FROM done";

const RETIRE: &str = "WITH due AS ( \
        SELECT id FROM device_certificates WHERE status = 'ACTIVE' AND retire_at <= least(now(), $3) \
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED), \
    done AS ( \
        UPDATE device_certificates c SET status = 'REVOKED', revoked_at = now(), revoked_reason = $2 FROM due WHERE c.id = due.id \
        RETURNING c.id, c.tenant_id, c.device_id, c.retire_at) \
    INSERT INTO audit_log (actor, action, tenant_id, device_id, detail) \
    SELECT 'keeper', 'certificate.retire', tenant_id, device_id, \
        jsonb_build_object('id', id, 'reason', $2::text, 'retire_at', retire_at) FROM done";

/// The result of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    /// ACTIVE certificates that became EXPIRED.
    pub expired: u64,
    /// ACTIVE certificates that retired and became REVOKED.
    pub retired: u64,
}

/// Number of certificates by status.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    active: i64,
    revoked: i64,
    expired: i64,
    /// When the first ACTIVE certificate expires; `None` means none is ACTIVE.
    pub earliest_not_after: Option<DateTime<Utc>>,
    /// ACTIVE certificates that expire before the given time and that no ACTIVE one has replaced.
    pub ending: i64,
}

/// Expires and retires what is due by both Postgres' clock and `now`, in chunks. It skips rows that
/// another replica has locked.
pub async fn keep(pool: &PgPool, now: Timestamp) -> Result<UpkeepReport, Outage> {
    let mut kept = UpkeepReport::default();
    loop {
        let piece =
            keep_chunk(pool, now).await.map_err(|error| Outage::from(StoreError::from(error)))?;
        kept.expired += piece.expired;
        kept.retired += piece.retired;
        if piece.expired.max(piece.retired) < ROWS_AT_ONCE.unsigned_abs() {
            return Ok(kept);
        }
    }
}

/// Counts certificates by status.
pub async fn count(pool: &PgPool, ending_before: Timestamp) -> Result<Counts, Outage> {
    let statement = format!(
        "SELECT count(*) FILTER (WHERE c.status = 'ACTIVE') AS active, count(*) FILTER (WHERE c.status = 'REVOKED') AS revoked,
             count(*) FILTER (WHERE c.status = 'EXPIRED') AS expired,
             least(min(c.not_after) FILTER (WHERE c.status = 'ACTIVE'), '9999-12-31Z') AS earliest_not_after,
             (SELECT count(*) FROM device_certificates c WHERE {NOT_REPLACED} AND c.not_after < $1) AS ending
         FROM device_certificates c"
    );
    let query =
        sqlx::query_as(AssertSqlSafe(statement)).bind(ending_before.to_utc()).fetch_one(pool);
    let mut counts: Counts = query.await.map_err(|error| Outage::from(StoreError::from(error)))?;
    // `least` ignores NULL.
    counts.earliest_not_after = counts.earliest_not_after.filter(|_| counts.active > 0);
    Ok(counts)
}

// === impl Counts ===

impl Counts {
    /// The number with this status.
    pub const fn of(&self, status: CertificateStatus) -> i64 {
        match status {
            CertificateStatus::Active => self.active,
            CertificateStatus::Revoked => self.revoked,
            CertificateStatus::Expired => self.expired,
        }
    }
}

// === private helpers ===

/// Runs one chunk in one transaction, under a lock that ends with it: after a crash another replica
/// can continue.
async fn keep_chunk(pool: &PgPool, now: Timestamp) -> Result<UpkeepReport, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let is_ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(ADVISORY_KEY)
        .fetch_one(&mut *tx)
        .await?;
    if !is_ours {
        return Ok(UpkeepReport::default());
    }
    // Expire first: an expired certificate needs no revocation.
    let kept =
        UpkeepReport { expired: expire(&mut tx, now).await?, retired: retire(&mut tx, now).await? };
    tx.commit().await?;
    Ok(kept)
}

async fn expire(tx: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(EXPIRE).bind(ROWS_AT_ONCE).bind(now.to_utc()).execute(tx).await?.rows_affected())
}

async fn retire(tx: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(RETIRE)
        .bind(ROWS_AT_ONCE)
        .bind(SUPERSEDED)
        .bind(now.to_utc())
        .execute(tx)
        .await?
        .rows_affected())
}
