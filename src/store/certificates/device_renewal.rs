//! What a device has renewed, and the transaction that stores a further renewal.
//!
//! The transaction locks the device's row, so of two replicas that renew for one device at once the
//! second sees what the first stored. It decides nothing: the registry reads the [`RenewalAccount`]
//! within the lock and decides.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use super::changes::{self, CertificateOrigin, NewCertificate};
use super::revoked_keys::{self, KeyRule};
use super::{
    COLUMNS, CertificateDetail, CertificateError, CertificateRow, CertificateStatus, Handle,
};
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;
use crate::store::certificates;
use crate::store::registry::audit::Actor;

/// The certificates of a device, as far as a renewal depends on them.
#[derive(Clone, Debug)]
pub struct RenewalAccount {
    /// Certificates that are valid now.
    pub active: i64,
    /// Certificates that replaced another, stored in the last 24 hours.
    pub renewed_lately: i64,
    /// When the first of these was stored.
    pub first_renewed_at: Option<DateTime<Utc>>,
    /// A certificate of the requested key that was revoked for cause. If the certificate in use is
    /// expired and has another key, also one that was replaced.
    pub revoked_key: Option<Uuid>,
    /// Whether the certificate in use is expired, and the device has used its successor.
    pub is_replaced: bool,
    /// The ACTIVE certificate of the requested key that ends last.
    pub same_key: Option<CertificateDetail>,
}

/// A transaction that has locked the row of a device.
#[derive(Debug)]
pub struct RenewalTransaction {
    tx: Transaction<'static, Postgres>,
    device: DeviceKey,
    /// The status of the device.
    pub status: DeviceStatus,
    /// Whether its tenant is suspended.
    pub tenant_suspended: bool,
}

/// The certificate of a device that ends last: an ACTIVE one, or else an expired one.
pub async fn latest(
    pool: &PgPool,
    device: &DeviceKey,
) -> Result<Option<CertificateDetail>, CertificateError> {
    let mut query = of_device(device);
    query.push(
        " AND c.status <> 'REVOKED' ORDER BY c.status = 'ACTIVE' DESC, c.retire_at IS NULL DESC, c.not_after DESC, c.id LIMIT 1",
    );
    Ok(query.build_query_as().fetch_optional(pool).await?)
}

/// Locks the row of `device` until the transaction ends.
pub async fn lock(
    pool: &PgPool,
    device: &DeviceKey,
) -> Result<RenewalTransaction, CertificateError> {
    let mut tx = pool.begin().await?;
    let found: Option<(DeviceStatus, bool)> = sqlx::query_as(
        "SELECT d.status, t.status = 'SUSPENDED' FROM devices d JOIN tenants t USING (tenant_id) \
         WHERE d.tenant_id = $1 AND d.device_id = $2 FOR NO KEY UPDATE OF d",
    )
    .bind(device.tenant())
    .bind(device.device())
    .fetch_optional(&mut *tx)
    .await?;
    let (status, tenant_suspended) =
        found.ok_or_else(|| CertificateError::NoDevice(device.clone()))?;
    Ok(RenewalTransaction { tx, device: device.clone(), status, tenant_suspended })
}

// === impl RenewalTransaction ===

impl RenewalTransaction {
    /// What the device has, for a renewal of `old` with the key of this hash.
    pub async fn account(
        &mut self,
        public_key: &str,
        old: Uuid,
    ) -> Result<RenewalAccount, CertificateError> {
        account_on(&mut self.tx, &self.device, public_key, old).await
    }

    /// Stores the successor of `old`, and commits. An `old` that is ACTIVE retires at `retires_at`;
    /// it may have other successors, which the device never got.
    pub async fn store(
        mut self,
        actor: &Actor,
        new: &NewCertificate,
        old: Uuid,
        retires_at: Timestamp,
    ) -> Result<CertificateRow, CertificateError> {
        let tx = &mut *self.tx;
        let origin = match changes::lock(tx, old).await?.status {
            CertificateStatus::Active => CertificateOrigin::Rotated(old, retires_at),
            CertificateStatus::Expired => CertificateOrigin::Renewed(old),
            status @ CertificateStatus::Revoked => {
                return Err(CertificateError::NotActive { id: old, status });
            }
        };
        let id = Uuid::now_v7();
        if !changes::insert_row(tx, id, new, origin).await? {
            return Err(changes::conflict(tx, new).await?);
        }
        if let CertificateOrigin::Rotated(old, at) = origin {
            sqlx::query("UPDATE device_certificates SET retire_at = $2 WHERE id = $1")
                .bind(old)
                .bind(at.to_utc())
                .execute(&mut *tx)
                .await?;
        }
        changes::record(tx, actor, id, new, origin).await?;
        // Read before the commit: after it, no step may fail.
        let stored = certificates::find_on(tx, &Handle::Id(id)).await?.certificate;
        self.tx.commit().await?;
        Ok(stored)
    }
}

// === private helpers ===

async fn account_on(
    connection: &mut PgConnection,
    device: &DeviceKey,
    public_key: &str,
    old: Uuid,
) -> Result<RenewalAccount, CertificateError> {
    let (active, renewed_lately, first_renewed_at) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'ACTIVE' AND least(not_after, retire_at) > now()), \
             count(*) FILTER (WHERE replaces IS NOT NULL AND created_at > now() - interval '24 hours'), \
             min(created_at) FILTER (WHERE replaces IS NOT NULL AND created_at > now() - interval '24 hours') \
         FROM device_certificates WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(device.tenant())
    .bind(device.device())
    .fetch_one(&mut *connection)
    .await?;
    let (rule, is_replaced) = judge_expired(connection, public_key, old).await?;
    let revoked_key = revoked_keys::find(connection, device, public_key, rule).await?;
    let mut query = of_device(device);
    query.push(" AND c.status = 'ACTIVE' AND c.cert_pem IS NOT NULL AND least(c.not_after, c.retire_at) > now()");
    query.push(" AND c.public_key_sha256 = ");
    query.push_bind(public_key);
    // The certificate in use, if it is about to retire, is no answer to a renewal of itself.
    query.push(" AND NOT (c.retire_at IS NOT NULL AND c.id = ").push_bind(old).push(")");
    query.push(" ORDER BY c.retire_at IS NULL DESC, c.not_after DESC, c.id LIMIT 1");
    let same_key = query.build_query_as().fetch_optional(connection).await?;
    Ok(RenewalAccount {
        active,
        renewed_lately,
        first_renewed_at,
        revoked_key,
        is_replaced,
        same_key,
    })
}

/// What an expired `old` may still renew: its proof has no time, so a captured request can come
/// again. Its successor was used if it was confirmed, replaced in turn, or superseded.
async fn judge_expired(
    connection: &mut PgConnection,
    public_key: &str,
    old: Uuid,
) -> Result<(KeyRule, bool), sqlx::Error> {
    let found: Option<(bool, bool)> = sqlx::query_as(
        "SELECT o.public_key_sha256 IS DISTINCT FROM $2, coalesce(o.retire_at <= o.not_after, false) OR EXISTS ( \
             SELECT FROM device_certificates n WHERE n.replaces = o.id AND (n.status = 'REVOKED' AND n.revoked_reason = $3 \
                 OR EXISTS (SELECT FROM device_certificates f WHERE f.replaces = n.id))) \
         FROM device_certificates o WHERE o.id = $1 AND (o.status = 'EXPIRED' OR o.not_after <= now())",
    )
    .bind(old)
    .bind(public_key)
    .bind(super::expiry::SUPERSEDED)
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        Some((true, is_replaced)) => (KeyRule::ForCauseOrReplaced, is_replaced),
        Some((false, is_replaced)) => (KeyRule::ForCause, is_replaced),
        None => (KeyRule::ForCause, false),
    })
}

/// The start of a query of the certificates of a device.
fn of_device(device: &DeviceKey) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(COLUMNS).push(", c.cert_pem FROM device_certificates c WHERE c.tenant_id = ");
    query.push_bind(device.tenant().to_owned());
    query.push(" AND c.device_id = ").push_bind(device.device().to_owned());
    query
}
