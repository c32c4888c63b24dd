//! Tenants: the owners of devices, ACTIVE or SUSPENDED.
//!
//! Every change is audited in its own transaction, and triggers notify all replicas. It refuses to
//! remove a tenant that has devices.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;

use super::audit::{self, Actor, Entry};
use crate::domain::ids::TenantId;
use crate::domain::ports::Outage;
use crate::store::error::StoreError;

/// A tenant's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TenantStatus {
    /// Its devices may publish.
    Active,
    /// None of its devices may publish.
    Suspended,
}

/// A row of `tenants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the column is called tenant_id")]
pub struct Tenant {
    /// Its identifier, as in topics.
    pub tenant_id: String,
    /// Its display name.
    pub name: String,
    /// `ACTIVE` or `SUSPENDED`.
    pub status: TenantStatus,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A tenant and the number of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct TenantDetail {
    /// The tenant.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub tenant: Tenant,
    /// Number of its devices.
    pub devices: i64,
    /// Number of its ACTIVE devices.
    pub devices_active: i64,
}

/// Why a tenant was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// It exists.
    #[error("tenant {0} exists already")]
    Exists(TenantId),
    /// No web address could name it.
    #[error("a tenant cannot be named {0}: no web address can contain this name")]
    Unaddressable(TenantId),
    /// It does not exist.
    #[error("tenant {0} not found")]
    Unknown(TenantId),
    /// It has devices.
    #[error("tenant {tenant} still has devices ({devices})")]
    HasDevices {
        /// Which tenant.
        tenant: TenantId,
        /// How many devices.
        devices: i64,
    },
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Adds a tenant, ACTIVE.
pub async fn add(
    pool: &PgPool,
    actor: &Actor,
    tenant: &TenantId,
    name: &str,
) -> Result<(), TenantError> {
    if !tenant.is_addressable() {
        return Err(TenantError::Unaddressable(tenant.clone()));
    }
    let mut tx = pool.begin().await?;
    let added =
        sqlx::query("INSERT INTO tenants (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(tenant.as_str())
            .bind(name)
            .execute(&mut *tx)
            .await?;
    if added.rows_affected() == 0 {
        return Err(TenantError::Exists(tenant.clone()));
    }
    audit::record(&mut tx, entry(actor, "tenant.add", tenant, json!({ "name": name }))).await?;
    Ok(tx.commit().await?)
}

/// Lists a page of tenants, sorted by identifier, after `after`.
pub async fn list(
    pool: &PgPool,
    after: Option<&TenantId>,
    limit: u32,
) -> Result<Vec<Tenant>, TenantError> {
    Ok(sqlx::query_as(
        "SELECT tenant_id, name, status, created_at FROM tenants WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2",
    )
    .bind(after.map_or("", TenantId::as_str))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?)
}

/// Reads one tenant.
pub async fn show(pool: &PgPool, tenant: &TenantId) -> Result<TenantDetail, TenantError> {
    sqlx::query_as(
        "SELECT tenant_id, name, t.status, t.created_at, count(device_id) AS devices,
             count(device_id) FILTER (WHERE d.status = 'ACTIVE') AS devices_active
         FROM tenants t LEFT JOIN devices d USING (tenant_id) WHERE tenant_id = $1 GROUP BY t.tenant_id",
    )
    .bind(tenant.as_str())
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| TenantError::Unknown(tenant.clone()))
}

/// Sets the status; returns the previous one. An equal status is neither written nor audited.
pub async fn set_status(
    pool: &PgPool,
    actor: &Actor,
    tenant: &TenantId,
    status: TenantStatus,
) -> Result<TenantStatus, TenantError> {
    let mut tx = pool.begin().await?;
    let before: Option<TenantStatus> =
        sqlx::query_scalar("SELECT status FROM tenants WHERE tenant_id = $1 FOR UPDATE")
            .bind(tenant.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    let before = before.ok_or_else(|| TenantError::Unknown(tenant.clone()))?;
    if before != status {
        sqlx::query("UPDATE tenants SET status = $2 WHERE tenant_id = $1")
            .bind(tenant.as_str())
            .bind(status)
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "from": before, "to": status });
        audit::record(&mut tx, entry(actor, "tenant.set-status", tenant, detail)).await?;
        tx.commit().await?;
    }
    Ok(before)
}

/// Removes a tenant without devices. Its telemetry stays until its retention ends.
pub async fn remove(pool: &PgPool, actor: &Actor, tenant: &TenantId) -> Result<(), TenantError> {
    let mut tx = pool.begin().await?;
    // The lock prevents adding a device between the count and the commit.
    let existing: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM tenants WHERE tenant_id = $1 FOR UPDATE")
            .bind(tenant.as_str())
            .fetch_optional(&mut *tx)
            .await?;
    if existing.is_none() {
        return Err(TenantError::Unknown(tenant.clone()));
    }
    let devices: i64 = sqlx::query_scalar("SELECT count(*) FROM devices WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_one(&mut *tx)
        .await?;
    if devices > 0 {
        return Err(TenantError::HasDevices { tenant: tenant.clone(), devices });
    }
    sqlx::query("DELETE FROM tenants WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .execute(&mut *tx)
        .await?;
    audit::record(&mut tx, entry(actor, "tenant.remove", tenant, json!({}))).await?;
    Ok(tx.commit().await?)
}

// === impl TenantStatus ===

impl TenantStatus {
    /// The name in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }

    /// The status of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Active, Self::Suspended].into_iter().find(|status| status.label() == label)
    }
}

impl std::fmt::Display for TenantStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

// === impl TenantError ===

impl From<sqlx::Error> for TenantError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === private helpers ===

fn entry<'a>(
    actor: &'a Actor,
    action: &'static str,
    tenant: &'a TenantId,
    detail: serde_json::Value,
) -> Entry<'a> {
    Entry { actor, action, tenant: Some(tenant.as_str()), device: None, detail }
}
