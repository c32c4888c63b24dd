//! What Postgres knows of the CRL besides its state: revocations that are not proven, when the broker
//! was notified and proven last, and how the number of entries grew.
//!
//! It only reads.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgPool;

use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;

/// The weeks whose revocations are counted one by one.
pub const GROWTH_WEEKS: u32 = 26;

const CHAIN: &str = "SELECT max(reloaded_at) AS reloaded_at, max(proven_at) AS proven_at, \
        count(*) FILTER (WHERE proven_at IS NULL AND c.not_after > now()) AS unproven, \
        count(*) FILTER (WHERE proven_at IS NULL AND c.not_after > now() AND failed_link IS NOT NULL) AS failed \
    FROM certificate_revocations r LEFT JOIN revoked_certificates c USING (certificate_id) \
    WHERE coalesce(c.issuer = (SELECT issuer FROM crl_state), true)";

const BY_ISSUER: &str = "SELECT issuer, count(*) AS revoked FROM revoked_certificates WHERE not_after > now() \
    GROUP BY issuer ORDER BY issuer LIMIT 100";

const GROWTH: &str = "SELECT date_trunc('week', revoked_at AT TIME ZONE 'UTC')::date AS first_day, count(*) AS revoked \
    FROM revoked_certificates WHERE revoked_at >= $1 GROUP BY 1";

/// How far revocations are, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct ChainSummary {
    /// When the broker was notified of a CRL because of a revocation, the last time.
    pub reloaded_at: Option<DateTime<Utc>>,
    /// When a revocation was proven, the last time.
    pub proven_at: Option<DateTime<Utc>>,
    /// Revocations of certificates that have not ended, which are not proven.
    pub unproven: i64,
    /// Of these, those whose last attempt failed.
    pub failed: i64,
}

/// Certificates that were revoked in one calendar week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RevokedWeek {
    /// The Monday.
    pub first_day: NaiveDate,
    /// How many.
    pub revoked: i64,
}

/// The revocations of one authority.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct IssuerRevocations {
    /// The authority.
    pub issuer: String,
    /// Its revoked certificates that have not ended.
    pub revoked: i64,
}

/// Counts the revoked certificates that have not ended, by their issuer.
pub async fn by_issuer(pool: &PgPool) -> Result<Vec<IssuerRevocations>, Outage> {
    let found = sqlx::query_as(BY_ISSUER).fetch_all(pool).await;
    found.map_err(|error| StoreError::from(error).into())
}

/// Reads how far revocations are, of the authority whose CRL is published here.
pub async fn chain_summary(pool: &PgPool) -> Result<ChainSummary, Outage> {
    let found = sqlx::query_as(CHAIN).fetch_one(pool).await;
    found.map_err(|error| StoreError::from(error).into())
}

/// Counts revocations by week, this one last; each week is there, also without revocations.
pub async fn growth(pool: &PgPool, now: Timestamp) -> Result<Vec<RevokedWeek>, Outage> {
    let this_week = now.to_utc().date_naive().week(chrono::Weekday::Mon).first_day();
    let first = this_week - chrono::TimeDelta::weeks(i64::from(GROWTH_WEEKS) - 1);
    let since = first.and_time(chrono::NaiveTime::MIN).and_utc();
    let found = sqlx::query_as(GROWTH).bind(since).fetch_all(pool).await;
    let found: Vec<RevokedWeek> = found.map_err(|error| Outage::from(StoreError::from(error)))?;
    let weeks = first.iter_weeks().take(GROWTH_WEEKS as usize);
    Ok(weeks
        .map(|first_day| {
            let row = found.iter().find(|row| row.first_day == first_day).copied();
            row.unwrap_or(RevokedWeek { first_day, revoked: 0 })
        })
        .collect())
}
