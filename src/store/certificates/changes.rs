//! Changes of certificate rows: reserve a serial number, insert, revoke, confirm a replacement.
//!
//! Each change is one transaction with its audit entry, and triggers notify all replicas. Conflicts
//! are returned as errors. It never deletes a row.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use super::{CertificateError, CertificateRow, CertificateStatus, Handle};
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;
use crate::store::certificates;
use crate::store::downlink::notices;
use crate::store::registry::audit::{self, Actor, Entry};

/// A certificate to store as ACTIVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCertificate {
    /// Its device.
    pub device: DeviceKey,
    /// SHA-256 of its DER, in lower-case hex.
    pub fingerprint: String,
    /// SHA-256 of its public key, in lower-case hex.
    pub public_key_sha256: String,
    /// Its serial number, in lower-case hex.
    pub serial: String,
    /// Its common name.
    pub common_name: String,
    /// Its issuer.
    pub issuer: String,
    /// When it becomes valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// The certificate in PEM.
    pub pem: String,
}

/// Why a certificate is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateOrigin {
    /// Issued, replacing none.
    Issued,
    /// Imported.
    Imported,
    /// Issued as replacement of another, which stays valid until its end.
    Renewed(Uuid),
    /// Issued as replacement of another, which retires at this time.
    Rotated(Uuid, Timestamp),
}

/// Stores a serial number for a device before a certificate with it is signed.
pub async fn reserve(
    pool: &PgPool,
    device: &DeviceKey,
    issuer: &str,
    serial: &str,
) -> Result<(), CertificateError> {
    let mut tx = pool.begin().await?;
    require_device(&mut tx, device).await?;
    reserve_on(&mut tx, device, issuer, serial).await?;
    Ok(tx.commit().await?)
}

/// Like [`reserve`], for a device that is registered together with its certificate.
pub async fn reserve_before_device(
    pool: &PgPool,
    device: &DeviceKey,
    issuer: &str,
    serial: &str,
) -> Result<(), CertificateError> {
    reserve_on(&mut *pool.acquire().await?, device, issuer, serial).await
}

async fn reserve_on(
    connection: &mut PgConnection,
    device: &DeviceKey,
    issuer: &str,
    serial: &str,
) -> Result<(), CertificateError> {
    let reserved = sqlx::query(
        "INSERT INTO certificate_serials (issuer, serial_number, tenant_id, device_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(issuer)
    .bind(serial)
    .bind(device.tenant())
    .bind(device.device())
    .execute(connection)
    .await?;
    if reserved.rows_affected() == 0 {
        return Err(CertificateError::SerialTaken {
            issuer: issuer.to_owned(),
            serial: serial.to_owned(),
        });
    }
    Ok(())
}

/// Inserts a certificate and returns its row.
pub async fn insert(
    pool: &PgPool,
    actor: &Actor,
    new: &NewCertificate,
    origin: CertificateOrigin,
) -> Result<CertificateRow, CertificateError> {
    let mut tx = pool.begin().await?;
    let stored = insert_on(&mut tx, actor, new, origin).await?;
    tx.commit().await?;
    Ok(stored)
}

/// Like [`insert`], within a transaction.
pub(in crate::store) async fn insert_on(
    tx: &mut PgConnection,
    actor: &Actor,
    new: &NewCertificate,
    origin: CertificateOrigin,
) -> Result<CertificateRow, CertificateError> {
    require_device(tx, &new.device).await?;
    if let Some(old) = origin.replaces() {
        mark_replaced(tx, old, origin.retires_at()).await?;
    }
    let id = Uuid::now_v7();
    if !insert_row(tx, id, new, origin).await? {
        return Err(conflict(tx, new).await?);
    }
    record(tx, actor, id, new, origin).await?;
    // Read before the commit: after it, no step may fail.
    Ok(certificates::find_on(tx, &Handle::Id(id)).await?.certificate)
}

/// Revokes an ACTIVE certificate. A revoked one keeps its first date and reason. The flag says
/// whether this call revoked it.
pub async fn revoke(
    pool: &PgPool,
    actor: &Actor,
    id: Uuid,
    reason: &str,
) -> Result<(CertificateRow, bool), CertificateError> {
    let mut tx = pool.begin().await?;
    let before = lock(&mut tx, id).await?;
    let is_active = before.status == CertificateStatus::Active;
    if !is_active && before.status != CertificateStatus::Revoked {
        return Err(CertificateError::NotActive { id, status: before.status });
    }
    if is_active {
        end(&mut tx, actor, "certificate.revoke", id, reason).await?;
    }
    let after = certificates::find_on(&mut tx, &Handle::Id(id)).await?.certificate;
    tx.commit().await?;
    Ok((after, is_active))
}

/// The certificates that `$1` replaces, directly or not.
const LINE: &str = "WITH RECURSIVE line AS (
    SELECT c.replaces AS id FROM device_certificates c WHERE c.id = $1
    UNION SELECT c.replaces FROM device_certificates c JOIN line ON c.id = line.id)";

/// Confirms that the device uses the new certificate: all its predecessors retire at once, and so do
/// the other successors of these, which the device got and does not use. Returns those that did.
pub async fn confirm(
    pool: &PgPool,
    actor: &Actor,
    id: Uuid,
) -> Result<Vec<Uuid>, CertificateError> {
    let mut tx = pool.begin().await?;
    let new = lock(&mut tx, id).await?;
    if new.status != CertificateStatus::Active {
        return Err(CertificateError::NotActive { id, status: new.status });
    }
    if new.replaces.is_none() {
        return Err(CertificateError::ReplacesNone(id));
    }
    let query = format!(
        "{LINE} SELECT c.id FROM device_certificates c WHERE c.status = 'ACTIVE' AND c.id <> $1
             AND (c.id IN (SELECT id FROM line) OR c.replaces IN (SELECT id FROM line))
         ORDER BY c.id FOR UPDATE OF c"
    );
    let before: Vec<Uuid> =
        sqlx::query_scalar(AssertSqlSafe(query)).bind(id).fetch_all(&mut *tx).await?;
    for old in &before {
        end(&mut tx, actor, "certificate.confirm", *old, super::expiry::SUPERSEDED).await?;
    }
    // An expired one has nothing to revoke; that it has retired says that it is renewed no further.
    let query = format!(
        "{LINE} UPDATE device_certificates c SET retire_at = c.not_after WHERE c.status = 'EXPIRED' AND c.id <> $1
             AND (c.id IN (SELECT id FROM line) OR c.replaces IN (SELECT id FROM line))
             AND (c.retire_at IS NULL OR c.retire_at > c.not_after)"
    );
    sqlx::query(AssertSqlSafe(query)).bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(before)
}

// === impl CertificateOrigin ===

impl CertificateOrigin {
    const fn action(self) -> &'static str {
        match self {
            Self::Issued => "certificate.issue",
            Self::Imported => "certificate.import",
            Self::Renewed(_) => "certificate.renew",
            Self::Rotated(..) => "certificate.rotate",
        }
    }

    const fn replaces(self) -> Option<Uuid> {
        match self {
            Self::Issued | Self::Imported => None,
            Self::Renewed(old) | Self::Rotated(old, _) => Some(old),
        }
    }

    const fn retires_at(self) -> Option<Timestamp> {
        match self {
            Self::Rotated(_, at) => Some(at),
            Self::Issued | Self::Imported | Self::Renewed(_) => None,
        }
    }
}

// === private helpers ===

/// The state of a row before a change.
#[derive(sqlx::FromRow)]
pub(super) struct Before {
    pub(super) status: CertificateStatus,
    replaces: Option<Uuid>,
}

/// Locks a row until the transaction ends.
pub(super) async fn lock(tx: &mut PgConnection, id: Uuid) -> Result<Before, CertificateError> {
    sqlx::query_as("SELECT status, replaces FROM device_certificates WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(tx)
        .await?
        .ok_or(CertificateError::Unknown(Handle::Id(id)))
}

/// Inserts the row. False means that one of its unique keys is taken.
pub(super) async fn insert_row(
    tx: &mut PgConnection,
    id: Uuid,
    new: &NewCertificate,
    origin: CertificateOrigin,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
             not_before, not_after, replaces, cert_pem, public_key_sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(new.device.tenant())
    .bind(new.device.device())
    .bind(&new.fingerprint)
    .bind(&new.serial)
    .bind(&new.common_name)
    .bind(&new.issuer)
    .bind(new.not_before.to_utc())
    .bind(new.not_after.to_utc())
    .bind(origin.replaces())
    .bind(&new.pem)
    .bind(&new.public_key_sha256)
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Records that a certificate was stored, and withdraws the notice of the one it replaces.
pub(super) async fn record(
    tx: &mut PgConnection,
    actor: &Actor,
    id: Uuid,
    new: &NewCertificate,
    origin: CertificateOrigin,
) -> Result<(), sqlx::Error> {
    let detail = json!({
        "id": id, "serial_number": new.serial, "fingerprint_sha256": new.fingerprint, "not_after": new.not_after.to_utc(),
        "replaces": origin.replaces(), "old_retires_at": origin.retires_at().map(Timestamp::to_utc),
    });
    let (tenant, device) = (new.device.tenant(), new.device.device());
    let entry = Entry {
        actor,
        action: origin.action(),
        tenant: Some(tenant),
        device: Some(device),
        detail,
    };
    audit::record(tx, entry).await?;
    notices::withdraw_ended(tx, tenant, device).await
}

/// Checks that the device exists, and locks it until the transaction ends.
async fn require_device(tx: &mut PgConnection, key: &DeviceKey) -> Result<(), CertificateError> {
    let status: Option<DeviceStatus> = sqlx::query_scalar(
        "SELECT status FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR SHARE",
    )
    .bind(key.tenant())
    .bind(key.device())
    .fetch_optional(tx)
    .await?;
    match status {
        None => Err(CertificateError::NoDevice(key.clone())),
        Some(DeviceStatus::Revoked) => Err(CertificateError::DeviceRevoked(key.clone())),
        Some(DeviceStatus::Active | DeviceStatus::Inactive) => Ok(()),
    }
}

/// Prepares `old` for its one replacement; a rotation sets when it retires.
async fn mark_replaced(
    tx: &mut PgConnection,
    old: Uuid,
    retires_at: Option<Timestamp>,
) -> Result<(), CertificateError> {
    let before = lock(tx, old).await?;
    let may = before.status == CertificateStatus::Active
        || before.status == CertificateStatus::Expired && retires_at.is_none();
    if !may {
        return Err(CertificateError::NotActive { id: old, status: before.status });
    }
    let by: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM device_certificates WHERE replaces = $1 AND status = 'ACTIVE' LIMIT 1",
    )
    .bind(old)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(by) = by {
        return Err(CertificateError::Replaced { id: old, by });
    }
    let retires_at: Option<DateTime<Utc>> = retires_at.map(Timestamp::to_utc);
    // An earlier rotation, whose new certificate was lost, may have set the time: the grace period
    // starts again.
    sqlx::query("UPDATE device_certificates SET retire_at = $2 WHERE id = $1 AND $2 IS NOT NULL")
        .bind(old)
        .bind(retires_at)
        .execute(tx)
        .await?;
    Ok(())
}

async fn end(
    tx: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    id: Uuid,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let (tenant, device): (String, String) = sqlx::query_as(
        "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = $2 WHERE id = $1
         RETURNING tenant_id, device_id",
    )
    .bind(id)
    .bind(reason)
    .fetch_one(&mut *tx)
    .await?;
    let detail: Value = json!({ "id": id, "reason": reason });
    let entry = Entry { actor, action, tenant: Some(&tenant), device: Some(&device), detail };
    audit::record(tx, entry).await?;
    notices::withdraw_ended(tx, &tenant, &device).await
}

/// Finds which of the two unique keys is taken.
pub(super) async fn conflict(
    tx: &mut PgConnection,
    new: &NewCertificate,
) -> Result<CertificateError, CertificateError> {
    match certificates::find_on(tx, &Handle::Fingerprint(new.fingerprint.clone())).await {
        Ok(found) => {
            let row = found.certificate;
            let device = format!("{}/{}", row.tenant_id, row.device_id);
            Ok(CertificateError::FingerprintTaken {
                fingerprint: new.fingerprint.clone(),
                id: row.id,
                device,
            })
        }
        Err(CertificateError::Unknown(_)) => {
            let (issuer, serial) = (new.issuer.clone(), new.serial.clone());
            Ok(CertificateError::SerialTaken { issuer, serial })
        }
        Err(error) => Err(error),
    }
}
