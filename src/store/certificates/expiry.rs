//! What time does to certificates: those past their end become EXPIRED, those whose time to retire has come are revoked,
//! and how many there are of each kind.
//!
//! Any number of replicas may call it at once: one does the work of a round, the others find it done.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::{CertificateStatus, NOT_REPLACED};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// The reason of RFC 5280 for one whose place another has taken.
pub(super) const SUPERSEDED: &str = "superseded";

/// The advisory lock of the one who keeps the certificates.
const ADVISORY_KEY: i64 = 0x736c_7569_6365_0002;

/// Rows of one statement: a fleet that ends in one minute must not hold locks for long.
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

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    /// ACTIVE ones past their end, now EXPIRED.
    pub expired: u64,
    /// ACTIVE ones whose time to retire had come, now REVOKED.
    pub retired: u64,
}

/// How many there are of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    active: i64,
    revoked: i64,
    expired: i64,
    /// When the first of the ACTIVE ones ends; none when there is none.
    pub earliest_not_after: Option<DateTime<Utc>>,
    /// ACTIVE ones that end before the moment asked about and that nothing ACTIVE has replaced.
    pub ending: i64,
}

/// Expires and retires what is due by Postgres' clock and by `now`, a piece at a time. What another replica is at already is
/// left to it.
pub async fn keep(pool: &PgPool, now: Timestamp) -> Result<UpkeepReport, Outage> {
    let mut kept = UpkeepReport::default();
    loop {
        let piece = keep_piece(pool, now).await.map_err(|error| Outage::from(StoreError::from(error)))?;
        kept.expired += piece.expired;
        kept.retired += piece.retired;
        if piece.expired.max(piece.retired) < ROWS_AT_ONCE.unsigned_abs() {
            return Ok(kept);
        }
    }
}

/// Counts them.
pub async fn count(pool: &PgPool, ending_before: Timestamp) -> Result<Counts, Outage> {
    let statement = format!(
        "SELECT count(*) FILTER (WHERE c.status = 'ACTIVE') AS active, count(*) FILTER (WHERE c.status = 'REVOKED') AS revoked,
             count(*) FILTER (WHERE c.status = 'EXPIRED') AS expired,
             least(min(c.not_after) FILTER (WHERE c.status = 'ACTIVE'), '9999-12-31Z') AS earliest_not_after,
             (SELECT count(*) FROM device_certificates c WHERE {NOT_REPLACED} AND c.not_after < $1) AS ending
         FROM device_certificates c"
    );
    let asked = sqlx::query_as(AssertSqlSafe(statement)).bind(ending_before.to_utc()).fetch_one(pool);
    let mut counts: Counts = asked.await.map_err(|error| Outage::from(StoreError::from(error)))?;
    // `least` passes over what is not there.
    counts.earliest_not_after = counts.earliest_not_after.filter(|_| counts.active > 0);
    Ok(counts)
}

// === impl Counts ===

impl Counts {
    /// How many have this status.
    pub const fn of(&self, status: CertificateStatus) -> i64 {
        match status {
            CertificateStatus::Active => self.active,
            CertificateStatus::Revoked => self.revoked,
            CertificateStatus::Expired => self.expired,
        }
    }
}

// === private helpers ===

/// One transaction, under a lock that ends with it: when this replica dies, the next round is another's.
async fn keep_piece(pool: &PgPool, now: Timestamp) -> Result<UpkeepReport, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let is_ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(ADVISORY_KEY).fetch_one(&mut *tx).await?;
    if !is_ours {
        return Ok(UpkeepReport::default());
    }
    // Those past their end first: they need no revocation.
    let kept = UpkeepReport { expired: expire(&mut tx, now).await?, retired: retire(&mut tx, now).await? };
    tx.commit().await?;
    Ok(kept)
}

async fn expire(tx: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(EXPIRE).bind(ROWS_AT_ONCE).bind(now.to_utc()).execute(tx).await?.rows_affected())
}

async fn retire(tx: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(RETIRE).bind(ROWS_AT_ONCE).bind(SUPERSEDED).bind(now.to_utc()).execute(tx).await?.rows_affected())
}
