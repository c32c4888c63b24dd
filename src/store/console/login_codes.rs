//! Codes of one-time links: stored, redeemed once, deleted.
//!
//! A code that is redeemed is deleted in the same statement, so that two replicas never redeem it
//! both.

use sqlx::PgPool;

use super::sessions::{PersonRow, person};
use crate::domain::operator::Person;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;

/// The most codes that wait; the one that expires first gives way.
const MAX_CODES: i64 = 1_000;

/// Stores a code.
pub(crate) async fn add(
    pool: &PgPool,
    hash: TokenHash,
    person: &Person,
    expires_at: Timestamp,
) -> Result<(), Outage> {
    let query = sqlx::query(
        "WITH room AS (DELETE FROM console_login_codes WHERE code_sha256 IN
             (SELECT code_sha256 FROM console_login_codes ORDER BY expires_at DESC OFFSET $6))
         INSERT INTO console_login_codes (code_sha256, name, role, tenant_id, expires_at) VALUES ($1, $2, $3, $4, $5)",
    );
    let query = query
        .bind(hash.0.as_slice())
        .bind(&person.name)
        .bind(person.role.label())
        .bind(person.tenant.as_ref().map(crate::domain::ids::TenantId::as_str))
        .bind(expires_at.to_utc())
        .bind(MAX_CODES);
    query.execute(pool).await.map_err(StoreError::from)?;
    Ok(())
}

/// Deletes the code and returns its person, if it has not expired.
pub(crate) async fn redeem(
    pool: &PgPool,
    hash: TokenHash,
    now: Timestamp,
) -> Result<Option<Person>, Outage> {
    let query = sqlx::query_as(
        "DELETE FROM console_login_codes WHERE code_sha256 = $1 AND expires_at > $2 RETURNING name, role, tenant_id",
    );
    let query = query.bind(hash.0.as_slice()).bind(now.to_utc());
    let found: Option<PersonRow> = query.fetch_optional(pool).await.map_err(StoreError::from)?;
    found.map(person).transpose()
}

/// Deletes the codes that expired before this time.
pub(crate) async fn purge(pool: &PgPool, before: Timestamp) -> Result<(), Outage> {
    let query = sqlx::query("DELETE FROM console_login_codes WHERE expires_at <= $1");
    query.bind(before.to_utc()).execute(pool).await.map_err(StoreError::from)?;
    Ok(())
}
