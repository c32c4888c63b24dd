//! Devices: identity, site, status, and the hash of the token.
//!
//! Every change is audited in its own transaction, and triggers notify all replicas. It never sees
//! a token, and never returns a hash.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::audit::{self, Actor, Entry};
use super::tenants::TenantStatus;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;

const DELETE_DEVICE: &str = "DELETE FROM devices WHERE tenant_id = $1 AND device_id = $2";
const DELETE_STATE: &str =
    "DELETE FROM device_state WHERE tenant_id = $1 AND device_id = $2 AND desired_version IS NULL";
/// The version stays: a later device of the same name must not take the documents of the removed
/// one for its own.
const CLEAR_STATE: &str = "UPDATE device_state SET last_seen_at = NULL, last_telemetry_at = NULL, desired = NULL, desired_at = NULL,
         reported = NULL, reported_version = NULL, reported_at = NULL WHERE tenant_id = $1 AND device_id = $2";
const DELETE_COMMANDS: &str = "DELETE FROM device_commands WHERE tenant_id = $1 AND device_id = $2";

/// The revocation reason (RFC 5280) of the certificates of a removed device.
pub const REMOVED: &str = "cessationOfOperation";

/// The largest metadata of a device after a change, in bytes.
pub const METADATA_MAX: usize = 128 * 1024;

/// A device to add.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDevice {
    /// Its identity.
    pub key: DeviceKey,
    /// Its site.
    pub site: Option<String>,
    /// Its status.
    pub status: DeviceStatus,
    /// The hash of its token.
    pub token: Option<TokenHash>,
    /// The refused message whose token becomes the device's own; only the audit log has it.
    pub token_of_event: Option<Uuid>,
    /// Free data of its owner: a JSON object.
    pub metadata: serde_json::Map<String, Value>,
}

/// A row of `devices`, without the hash of the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct DeviceRow {
    /// Its tenant.
    pub tenant_id: String,
    /// Its name.
    pub device_id: String,
    /// Its site.
    pub site_id: Option<String>,
    /// `ACTIVE`, `INACTIVE` or `REVOKED`.
    pub status: DeviceStatus,
    /// Whether it has a token.
    pub has_token: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A device with its tenant's status, its certificates and its last messages.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct DeviceDetail {
    /// The device.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub device: DeviceRow,
    /// Its tenant's status.
    pub tenant_status: TenantStatus,
    /// Free data of its owner: a JSON object.
    pub metadata: Value,
    /// Number of all its certificates.
    pub certificates: i64,
    /// Number of its ACTIVE certificates.
    pub certificates_active: i64,
    /// When its last message was accepted.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When its last telemetry row was accepted.
    pub last_telemetry_at: Option<DateTime<Utc>>,
}

/// Why a device was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It exists.
    #[error("device {0} exists already")]
    Exists(DeviceKey),
    /// No web address could name it.
    #[error("a device cannot be named {}: no web address can contain this name", .0.device())]
    Unaddressable(DeviceKey),
    /// Its tenant does not exist.
    #[error("tenant {0} not found")]
    NoTenant(TenantId),
    /// It does not exist.
    #[error("device {} not found in tenant {}", .0.device(), .0.tenant())]
    Unknown(DeviceKey),
    /// It was changed after the version that the change is for.
    #[error("device {0} was changed meanwhile")]
    Raced(DeviceKey),
    /// Its metadata would be too large.
    #[error("the metadata of device {0} would have more than {METADATA_MAX} bytes")]
    MetadataTooLarge(DeviceKey),
    /// Its metadata cannot be merged or stored.
    #[error("the metadata of device {0} cannot be stored: {1}")]
    MetadataInvalid(DeviceKey, String),
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Adds a device.
pub async fn add(pool: &PgPool, actor: &Actor, device: &NewDevice) -> Result<(), DeviceError> {
    let mut tx = pool.begin().await?;
    add_on(&mut tx, actor, device).await?;
    Ok(tx.commit().await?)
}

/// Like [`add`], within a transaction.
pub(super) async fn add_on(
    tx: &mut PgConnection,
    actor: &Actor,
    device: &NewDevice,
) -> Result<(), DeviceError> {
    let key = &device.key;
    if !key.is_addressable() {
        return Err(DeviceError::Unaddressable(key.clone()));
    }
    let tenant: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM tenants WHERE tenant_id = $1 FOR KEY SHARE")
            .bind(key.tenant())
            .fetch_optional(&mut *tx)
            .await?;
    if tenant.is_none() {
        return Err(DeviceError::NoTenant(key.tenant_id()));
    }
    let added = sqlx::query(
        "INSERT INTO devices (tenant_id, device_id, site_id, status, provision_token_hash, metadata)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(key.tenant())
    .bind(key.device())
    .bind(&device.site)
    .bind(device.status)
    .bind(device.token.as_ref().map(TokenHash::to_hex))
    .bind(Value::Object(device.metadata.clone()))
    .execute(&mut *tx)
    .await?;
    if added.rows_affected() == 0 {
        return Err(DeviceError::Exists(key.clone()));
    }
    let mut detail =
        json!({ "site_id": device.site, "status": device.status, "token": device.token.is_some() });
    if let Some(event) = device.token_of_event {
        detail["token_of_event"] = json!(event);
    }
    Ok(audit::record(tx, entry(actor, "device.add", key, detail)).await?)
}

/// Reads one device.
pub async fn show(pool: &PgPool, key: &DeviceKey) -> Result<DeviceDetail, DeviceError> {
    sqlx::query_as(
        "SELECT tenant_id, device_id, d.site_id, d.status, d.provision_token_hash IS NOT NULL AS has_token, d.created_at,
             d.updated_at, t.status AS tenant_status, d.metadata, held.certificates, held.certificates_active,
             s.last_seen_at, s.last_telemetry_at
         FROM devices d JOIN tenants t USING (tenant_id) LEFT JOIN device_state s USING (tenant_id, device_id),
             LATERAL (SELECT count(*) AS certificates, count(*) FILTER (WHERE c.status = 'ACTIVE') AS certificates_active
                 FROM device_certificates c WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id) held
         WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(key.tenant())
    .bind(key.device())
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| DeviceError::Unknown(key.clone()))
}

/// Sets the status; returns the previous one. An equal status is neither written nor audited.
pub async fn set_status(
    pool: &PgPool,
    actor: &Actor,
    key: &DeviceKey,
    status: DeviceStatus,
) -> Result<DeviceStatus, DeviceError> {
    let mut tx = pool.begin().await?;
    let before: Option<DeviceStatus> = sqlx::query_scalar(
        "SELECT status FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR UPDATE",
    )
    .bind(key.tenant())
    .bind(key.device())
    .fetch_optional(&mut *tx)
    .await?;
    let before = before.ok_or_else(|| DeviceError::Unknown(key.clone()))?;
    if before != status {
        sqlx::query("UPDATE devices SET status = $3 WHERE tenant_id = $1 AND device_id = $2")
            .bind(key.tenant())
            .bind(key.device())
            .bind(status)
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "from": before, "to": status });
        audit::record(&mut tx, entry(actor, "device.set-status", key, detail)).await?;
        tx.commit().await?;
    }
    Ok(before)
}

/// Sets or removes the token's hash. The old token is invalid from the commit on.
pub async fn set_token(
    pool: &PgPool,
    actor: &Actor,
    key: &DeviceKey,
    token: Option<&TokenHash>,
) -> Result<(), DeviceError> {
    let mut tx = pool.begin().await?;
    let set = sqlx::query(
        "UPDATE devices SET provision_token_hash = $3 WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(key.tenant())
    .bind(key.device())
    .bind(token.map(TokenHash::to_hex))
    .execute(&mut *tx)
    .await?;
    if set.rows_affected() == 0 {
        return Err(DeviceError::Unknown(key.clone()));
    }
    audit::record(
        &mut tx,
        entry(actor, "device.set-token", key, json!({ "token": token.is_some() })),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Removes a device, its state but the version of its desired document, and its commands; returns the number of certificates revoked with
/// it. Certificates stay as rows, and ACTIVE ones become REVOKED, so that an old key does not
/// authenticate a later device of the same name. Its telemetry stays until its retention ends.
pub async fn remove(pool: &PgPool, actor: &Actor, key: &DeviceKey) -> Result<u64, DeviceError> {
    let mut tx = pool.begin().await?;
    // Issuing a certificate locks the device until the certificate is stored.
    let existing: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR UPDATE",
    )
    .bind(key.tenant())
    .bind(key.device())
    .fetch_optional(&mut *tx)
    .await?;
    if existing.is_none() {
        return Err(DeviceError::Unknown(key.clone()));
    }
    // A trigger would revoke them too, but return no number.
    let revoked = sqlx::query(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = $3
         WHERE tenant_id = $1 AND device_id = $2 AND status = 'ACTIVE'",
    )
    .bind(key.tenant())
    .bind(key.device())
    .bind(REMOVED)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    run_for_device(&mut tx, DELETE_DEVICE, key).await?;
    run_for_device(&mut tx, DELETE_STATE, key).await?;
    run_for_device(&mut tx, CLEAR_STATE, key).await?;
    let commands = run_for_device(&mut tx, DELETE_COMMANDS, key).await?;
    let detail = json!({ "certificates_revoked": revoked, "commands_removed": commands });
    audit::record(&mut tx, entry(actor, "device.remove", key, detail)).await?;
    tx.commit().await?;
    Ok(revoked)
}

// === impl DeviceError ===

impl From<sqlx::Error> for DeviceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === private helpers ===

/// Runs a statement on one device; returns the number of rows it touched.
async fn run_for_device(
    connection: &mut PgConnection,
    statement: &'static str,
    key: &DeviceKey,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(statement).bind(key.tenant()).bind(key.device());
    Ok(query.execute(connection).await?.rows_affected())
}

pub(super) fn entry<'a>(
    actor: &'a Actor,
    action: &'static str,
    key: &'a DeviceKey,
    detail: Value,
) -> Entry<'a> {
    Entry { actor, action, tenant: Some(key.tenant()), device: Some(key.device()), detail }
}
