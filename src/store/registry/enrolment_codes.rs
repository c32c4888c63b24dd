//! Enrolment codes: add, list, revoke. [`super::enrolment_uses`] redeems them.
//!
//! Every change is audited in its own transaction. It never sees a code and never returns a hash.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::audit::{self, Actor, Entry};
use crate::domain::enrolment::EnrolmentScope;
use crate::domain::ids::TenantId;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;

/// Most codes of a tenant, the expired ones of [`KEPT_DAYS`] included.
pub const MAX_CODES: i64 = 10_000;

/// How long a code stays listed after its end.
const KEPT_DAYS: i32 = 90;

const COLUMNS: &str = "tenant_id, code_id, device_id, device_pattern, site_id, adds_devices, max_uses, uses, authority, \
    CASE WHEN revoked_at IS NOT NULL THEN 'REVOKED' WHEN uses >= max_uses THEN 'USED' \
    WHEN expires_at <= now() THEN 'EXPIRED' ELSE 'ACTIVE' END AS status, created_at, expires_at, revoked_at";

/// A code to add.
#[derive(Clone, Debug)]
pub struct NewEnrolmentCode {
    /// The tenant whose devices it enrols.
    pub tenant: TenantId,
    /// Which of them.
    pub scope: EnrolmentScope,
    /// The site of a device that it adds.
    pub site: Option<String>,
    /// Whether it adds a device that is not registered.
    pub adds_devices: bool,
    /// How often it may be used.
    pub max_uses: u32,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The name of the authority of its certificates; `None` means the own one.
    pub authority: Option<String>,
    /// The hash of the code.
    pub hash: TokenHash,
}

/// A row of `enrolment_codes`, without the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct EnrolmentCodeRow {
    /// Its identifier.
    pub code_id: Uuid,
    /// Its tenant.
    pub tenant_id: String,
    /// The device that it enrols.
    pub device_id: Option<String>,
    /// Or the pattern of the names.
    pub device_pattern: Option<String>,
    /// The site of a device that it adds.
    pub site_id: Option<String>,
    /// Whether it adds a device that is not registered.
    pub adds_devices: bool,
    /// How often it may be used.
    pub max_uses: i32,
    /// How often it was used.
    pub uses: i32,
    /// The name of the authority of its certificates; `None` means the own one.
    pub authority: Option<String>,
    /// `ACTIVE`, `USED`, `EXPIRED` or `REVOKED`.
    pub status: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Why a code was not added or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentCodeError {
    /// Its tenant does not exist.
    #[error("tenant {0} not found")]
    NoTenant(TenantId),
    /// The tenant has [`MAX_CODES`].
    #[error("tenant {0} has {MAX_CODES} enrolment codes, which is the limit")]
    TooMany(TenantId),
    /// It does not exist.
    #[error("enrolment code {id} not found in tenant {tenant}")]
    Unknown {
        /// The tenant.
        tenant: TenantId,
        /// The code.
        id: Uuid,
    },
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Adds a code; codes of the tenant that ended [`KEPT_DAYS`] ago are deleted.
pub async fn add(
    pool: &PgPool,
    actor: &Actor,
    new: &NewEnrolmentCode,
) -> Result<EnrolmentCodeRow, EnrolmentCodeError> {
    let mut tx = pool.begin().await?;
    make_room(&mut tx, &new.tenant).await?;
    let query = format!(
        "INSERT INTO enrolment_codes
             (tenant_id, code_id, code_sha256, device_id, device_pattern, site_id, adds_devices, max_uses, expires_at,
              authority)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING {COLUMNS}"
    );
    let row: EnrolmentCodeRow = sqlx::query_as(AssertSqlSafe(query))
        .bind(new.tenant.as_str())
        .bind(Uuid::now_v7())
        .bind(new.hash.0.as_slice())
        .bind(new.scope.device())
        .bind(new.scope.pattern())
        .bind(&new.site)
        .bind(new.adds_devices)
        .bind(i64::from(new.max_uses))
        .bind(new.expires_at.to_utc())
        .bind(&new.authority)
        .fetch_one(&mut *tx)
        .await?;
    let detail = json!({
        "id": row.code_id, "device_pattern": row.device_pattern, "site_id": row.site_id, "max_uses": row.max_uses,
        "adds_devices": row.adds_devices, "expires_at": row.expires_at,
        "authority": row.authority,
    });
    let entry = Entry {
        actor,
        action: "enrolment_code.add",
        tenant: Some(new.tenant.as_str()),
        device: new.scope.device(),
        detail,
    };
    audit::record(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(row)
}

/// Lists a page of the codes of a tenant, the newest first, after `after`.
pub async fn list(
    pool: &PgPool,
    tenant: &TenantId,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<EnrolmentCodeRow>, EnrolmentCodeError> {
    let is_known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM tenants WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(pool)
        .await?;
    if is_known.is_none() {
        return Err(EnrolmentCodeError::NoTenant(tenant.clone()));
    }
    let query = format!(
        "SELECT {COLUMNS} FROM enrolment_codes WHERE tenant_id = $1 AND ($2::uuid IS NULL OR code_id < $2)
         ORDER BY code_id DESC LIMIT $3"
    );
    Ok(sqlx::query_as(AssertSqlSafe(query))
        .bind(tenant.as_str())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?)
}

/// Revokes a code. A revoked one keeps its first date, and the repeated call is not audited.
pub async fn revoke(
    pool: &PgPool,
    actor: &Actor,
    tenant: &TenantId,
    id: Uuid,
) -> Result<EnrolmentCodeRow, EnrolmentCodeError> {
    let mut tx = pool.begin().await?;
    let revoked = sqlx::query(
        "UPDATE enrolment_codes SET revoked_at = now() WHERE tenant_id = $1 AND code_id = $2 AND revoked_at IS NULL",
    )
    .bind(tenant.as_str())
    .bind(id)
    .execute(&mut *tx)
    .await?;
    let query =
        format!("SELECT {COLUMNS} FROM enrolment_codes WHERE tenant_id = $1 AND code_id = $2");
    let row: Option<EnrolmentCodeRow> = sqlx::query_as(AssertSqlSafe(query))
        .bind(tenant.as_str())
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    let row = row.ok_or_else(|| EnrolmentCodeError::Unknown { tenant: tenant.clone(), id })?;
    if revoked.rows_affected() > 0 {
        let entry = Entry {
            actor,
            action: "enrolment_code.revoke",
            tenant: Some(tenant.as_str()),
            device: row.device_id.as_deref(),
            detail: json!({ "id": id, "uses": row.uses }),
        };
        audit::record(&mut tx, entry).await?;
    }
    tx.commit().await?;
    Ok(row)
}

// === private helpers ===

/// Locks the tenant, so that two callers do not exceed the bound together.
async fn make_room(tx: &mut PgConnection, tenant: &TenantId) -> Result<(), EnrolmentCodeError> {
    let is_known: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM tenants WHERE tenant_id = $1 FOR UPDATE")
            .bind(tenant.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    if is_known.is_none() {
        return Err(EnrolmentCodeError::NoTenant(tenant.clone()));
    }
    sqlx::query(
        "DELETE FROM enrolment_codes WHERE tenant_id = $1 AND expires_at < now() - make_interval(days => $2)",
    )
    .bind(tenant.as_str())
    .bind(KEPT_DAYS)
    .execute(&mut *tx)
    .await?;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM enrolment_codes WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_one(tx)
        .await?;
    if kept >= MAX_CODES {
        return Err(EnrolmentCodeError::TooMany(tenant.clone()));
    }
    Ok(())
}

// === impl EnrolmentCodeError ===

impl From<sqlx::Error> for EnrolmentCodeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}
