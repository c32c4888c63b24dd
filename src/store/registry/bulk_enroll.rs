//! Registers and removes a simulated fleet: hundreds of thousands of devices by a few statements.
//!
//! The fleet has tenants of its own; it never changes devices of other tenants. It never sees a
//! token, only hashes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::audit::{self, Actor, Entry};
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::store::certificates::changes::NewCertificate;
use crate::store::error::StoreError;

/// Devices per statement: many enough to be cheap, few enough to stay far below the statement
/// timeout.
const CHUNK: usize = 5_000;

/// The issuer of simulated certificates. No such key exists: they are rows only.
const ISSUER: &str = "CN=sluice simulate";

const ADD_TENANTS: &str = "INSERT INTO tenants (tenant_id, name) SELECT id, 'Simulated by sluice' \
    FROM unnest($1::text[]) AS id ON CONFLICT DO NOTHING";

const ADD_DEVICES: &str = "INSERT INTO devices (tenant_id, device_id, site_id, status, provision_token_hash) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) \
    ON CONFLICT (tenant_id, device_id) DO UPDATE SET site_id = excluded.site_id, status = excluded.status, \
        provision_token_hash = excluded.provision_token_hash";

/// The fingerprint derives from the identity, so a fleet that is registered again keeps its
/// certificates, with a later expiry.
const ADD_CERTIFICATES: &str = "INSERT INTO device_certificates \
    (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer, not_before, not_after) \
    SELECT gen_random_uuid(), tenant, device, encode(sha256(convert_to($4 || tenant || '/' || device, 'UTF8')), 'hex'), \
        tenant || '/' || device, tenant || '/device/' || device, $4, $3 - interval '1 hour', $3 + interval '1 day' \
    FROM unnest($1::text[], $2::text[]) AS fleet (tenant, device) \
    ON CONFLICT (fingerprint_sha256) DO UPDATE SET not_after = excluded.not_after";

const ADD_EARLY_CERTIFICATE: &str = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, \
        serial_number, common_name, issuer, not_before, not_after, cert_pem, public_key_sha256) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const SET_LAST_MESSAGE: &str = "INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_telemetry_at) \
    VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING";

/// The statements that remove a fleet, in order. A certificate that an authority signed stays as a
/// row: the CRL must list it until it would have expired.
const DISBAND: [&str; 5] = [
    "DELETE FROM device_certificates WHERE id IN (SELECT id FROM device_certificates WHERE tenant_id = ANY($1) \
        AND issuer = 'CN=sluice simulate' LIMIT $2)",
    "UPDATE device_certificates SET status = 'REVOKED', revoked_at = now(), revoked_reason = 'cessationOfOperation' \
        WHERE id IN (SELECT id FROM device_certificates WHERE tenant_id = ANY($1) AND status = 'ACTIVE' LIMIT $2)",
    "DELETE FROM devices WHERE (tenant_id, device_id) IN (SELECT tenant_id, device_id FROM devices \
        WHERE tenant_id = ANY($1) LIMIT $2)",
    "DELETE FROM device_state WHERE (tenant_id, device_id) IN (SELECT tenant_id, device_id FROM device_state \
        WHERE tenant_id = ANY($1) LIMIT $2)",
    "DELETE FROM tenants WHERE tenant_id IN (SELECT tenant_id FROM tenants WHERE tenant_id = ANY($1) LIMIT $2)",
];

/// A device to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToEnroll {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub device: String,
    /// Its site.
    pub site: &'static str,
    /// Its status.
    pub status: DeviceStatus,
    /// The hash of its token; `None` means no token.
    pub token: Option<TokenHash>,
    /// Whether it has a certificate.
    pub certificate: bool,
}

/// Inserts or updates the fleet in one transaction.
pub async fn enroll(
    pool: &PgPool,
    actor: &Actor,
    fleet: &[DeviceToEnroll],
    now: DateTime<Utc>,
) -> Result<(), Outage> {
    enroll_all(pool, actor, fleet, now).await.map_err(|error| StoreError::from(error).into())
}

/// Stores a certificate of a device that is not registered yet; returns its row's identifier. It
/// authenticates the device's messages once the device is registered.
pub async fn add_early_certificate(pool: &PgPool, new: &NewCertificate) -> Result<Uuid, Outage> {
    let id = Uuid::now_v7();
    let added = sqlx::query(ADD_EARLY_CERTIFICATE)
        .bind(id)
        .bind(new.device.tenant())
        .bind(new.device.device())
        .bind(&new.fingerprint)
        .bind(&new.serial)
        .bind(&new.common_name)
        .bind(&new.issuer)
        .bind(new.not_before.to_utc())
        .bind(new.not_after.to_utc())
        .bind(&new.pem)
        .bind(&new.public_key_sha256)
        .execute(pool);
    added.await.map_err(StoreError::from)?;
    Ok(id)
}

/// Sets when the last message of a device was accepted, if none was yet.
pub async fn set_last_message(
    pool: &PgPool,
    device: &DeviceKey,
    at: DateTime<Utc>,
) -> Result<(), Outage> {
    let set = sqlx::query(SET_LAST_MESSAGE).bind(device.tenant()).bind(device.device()).bind(at);
    set.execute(pool).await.map_err(StoreError::from)?;
    Ok(())
}

/// Counts of removed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RemovedFleet {
    /// Tenants.
    pub tenants: u64,
    /// Devices.
    pub devices: u64,
    /// Certificates that an authority signed.
    pub certificates_revoked: u64,
}

/// Removes all tenants whose names match the regular expression `names`, with their devices. Their
/// telemetry stays until its retention ends.
pub async fn disband(pool: &PgPool, actor: &Actor, names: &str) -> Result<RemovedFleet, Outage> {
    disband_all(pool, actor, names).await.map_err(|error| StoreError::from(error).into())
}

async fn disband_all(
    pool: &PgPool,
    actor: &Actor,
    names: &str,
) -> Result<RemovedFleet, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let found = sqlx::query_scalar("SELECT tenant_id FROM tenants WHERE tenant_id ~ $1 FOR UPDATE")
        .bind(names);
    let tenants: Vec<String> = found.fetch_all(&mut *tx).await?;
    let mut counts = [0; DISBAND.len()];
    for (statement, count) in DISBAND.into_iter().zip(&mut counts) {
        loop {
            let query = sqlx::query(statement)
                .bind(&tenants)
                .bind(i64::try_from(CHUNK).unwrap_or(i64::MAX));
            let touched = query.execute(&mut *tx).await?.rows_affected();
            *count += touched;
            if touched < CHUNK as u64 {
                break;
            }
        }
    }
    let [_, certificates_revoked, devices, _, tenants] = counts;
    let disbanded = RemovedFleet { tenants, devices, certificates_revoked };
    let detail = json!(disbanded);
    audit::record(
        &mut tx,
        Entry { actor, action: "fleet.disband", tenant: None, device: None, detail },
    )
    .await?;
    tx.commit().await?;
    Ok(disbanded)
}

async fn enroll_all(
    pool: &PgPool,
    actor: &Actor,
    fleet: &[DeviceToEnroll],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let mut tenants: Vec<&str> = fleet.iter().map(|device| device.tenant.as_str()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    sqlx::query(ADD_TENANTS).bind(&tenants).execute(&mut *tx).await?;
    for chunk in fleet.chunks(CHUNK) {
        add_devices(&mut tx, chunk).await?;
        let holders: Vec<_> = chunk.iter().filter(|device| device.certificate).collect();
        if !holders.is_empty() {
            add_certificates(&mut tx, &holders, now).await?;
        }
    }
    let detail = json!({ "tenants": tenants.len(), "devices": fleet.len() });
    audit::record(
        &mut tx,
        Entry { actor, action: "fleet.enroll", tenant: None, device: None, detail },
    )
    .await?;
    tx.commit().await
}

async fn add_devices(
    connection: &mut PgConnection,
    chunk: &[DeviceToEnroll],
) -> Result<(), sqlx::Error> {
    let tokens: Vec<Option<String>> =
        chunk.iter().map(|device| device.token.as_ref().map(TokenHash::to_hex)).collect();
    sqlx::query(ADD_DEVICES)
        .bind(chunk.iter().map(|device| device.tenant.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|device| device.device.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|device| device.site).collect::<Vec<_>>())
        .bind(chunk.iter().map(|device| device.status.label()).collect::<Vec<_>>())
        .bind(tokens)
        .execute(connection)
        .await
        .map(drop)
}

async fn add_certificates(
    connection: &mut PgConnection,
    holders: &[&DeviceToEnroll],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(ADD_CERTIFICATES)
        .bind(holders.iter().map(|device| device.tenant.as_str()).collect::<Vec<_>>())
        .bind(holders.iter().map(|device| device.device.as_str()).collect::<Vec<_>>())
        .bind(now)
        .bind(ISSUER)
        .execute(connection)
        .await
        .map(drop)
}
