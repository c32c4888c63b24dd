//! Finds the devices of a whole batch in one query, and registers new devices in one statement.
//!
//! It decides nothing, and reads hashes of tokens only.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sluice_shared::proof::ShortFingerprint;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::device::{
    CertificateWindow, Device, DeviceStatus, MAX_WINDOWS, RegistryAnswer, Windows,
};
use crate::domain::hex;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::{Directory, Newcomer, Outage};
use crate::domain::token::TokenHash;
use crate::store::connection::writer_connection::answer;

/// Rows written by hand may contain `infinity`; the bounds keep such dates readable. A certificate
/// with `retire_at` is valid until then, also while its row is still ACTIVE. A revoked certificate
/// is never valid, whatever its row contains. One that ended within a week is found too: the broker may
/// have held messages since.
const FIND: &str = "SELECT t.status = 'SUSPENDED', d.status, d.site_id, d.provision_token_hash, w.starts, w.ends, w.ids, w.fingerprints \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS requested (tenant_id, device_id, place) \
    LEFT JOIN tenants t ON t.tenant_id = requested.tenant_id \
    LEFT JOIN devices d ON d.tenant_id = requested.tenant_id AND d.device_id = requested.device_id \
    LEFT JOIN LATERAL ( \
        SELECT array_agg(greatest(best.not_before, '0001-01-01Z') ORDER BY best.not_after DESC) AS starts, \
            array_agg(least(best.not_after, '9999-12-31Z') ORDER BY best.not_after DESC) AS ends, \
            array_agg(best.id ORDER BY best.not_after DESC) AS ids, \
            array_agg(left(best.fingerprint_sha256, 32) ORDER BY best.not_after DESC) AS fingerprints \
        FROM (SELECT c.id, c.fingerprint_sha256, c.not_before, least(c.not_after, c.retire_at) AS not_after FROM device_certificates c \
            WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id AND least(c.not_after, c.retire_at) > now() - interval '7 days' \
            AND (c.status = 'ACTIVE' OR c.status = 'EXPIRED' AND least(c.not_after, c.retire_at) <= now()) \
            AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.certificate_id = c.id) \
            AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.issuer = c.issuer AND r.serial_number = c.serial_number) \
            ORDER BY 4 DESC, 1 LIMIT $3) best \
    ) w ON true \
    ORDER BY requested.place";

/// Sorted, so that replicas with the same new devices lock in the same order; only inserted rows
/// are audited. A cell registers none: its registry is a copy.
const ENROLL: &str = "WITH requested AS ( \
        SELECT DISTINCT ON (tenant_id, device_id) * \
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY \
        AS a (tenant_id, device_id, site_id, token, place) \
        WHERE NOT EXISTS (SELECT FROM cell WHERE left_at IS NULL) ORDER BY tenant_id, device_id, place), \
    new_tenants AS ( \
        INSERT INTO tenants (tenant_id, name) SELECT DISTINCT tenant_id, tenant_id FROM requested ORDER BY 1 \
        ON CONFLICT DO NOTHING RETURNING tenant_id), \
    new_devices AS ( \
        INSERT INTO devices (tenant_id, device_id, site_id, provision_token_hash) \
        SELECT tenant_id, device_id, site_id, token FROM requested ORDER BY tenant_id, device_id \
        ON CONFLICT DO NOTHING RETURNING tenant_id, device_id) \
    INSERT INTO audit_log (actor, action, tenant_id, device_id) \
    SELECT 'auto-provision', 'tenant.add', tenant_id, NULL FROM new_tenants \
    UNION ALL SELECT 'auto-provision', 'device.add', tenant_id, device_id FROM new_devices";

/// The directory in Postgres.
#[derive(Clone, Debug)]
pub struct PgDirectory {
    pool: PgPool,
}

/// One row of [`FIND`].
type DirectoryRow = (
    Option<bool>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Vec<DateTime<Utc>>>,
    Option<Vec<DateTime<Utc>>>,
    Option<Vec<Uuid>>,
    Option<Vec<String>>,
);

// === impl PgDirectory ===

impl PgDirectory {
    /// Creates a directory on `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

impl Directory for PgDirectory {
    async fn find(&self, keys: &[DeviceKey]) -> Result<Vec<RegistryAnswer>, Outage> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: Vec<&str> = keys.iter().map(DeviceKey::tenant).collect();
        let devices: Vec<&str> = keys.iter().map(DeviceKey::device).collect();
        let windows = i64::try_from(MAX_WINDOWS).unwrap_or(i64::MAX);
        let query = sqlx::query_as(FIND).bind(tenants).bind(devices).bind(windows);
        let rows: Vec<DirectoryRow> = answer(query.fetch_all(&self.pool)).await?;
        let mut sites = HashSet::new();
        rows.into_iter().zip(keys).map(|(row, key)| registry_answer(row, key, &mut sites)).collect()
    }

    async fn enroll(&self, newcomers: &[Newcomer]) -> Result<(), Outage> {
        if newcomers.is_empty() {
            return Ok(());
        }
        let tenants: Vec<&str> = newcomers.iter().map(|newcomer| newcomer.key.tenant()).collect();
        let devices: Vec<&str> = newcomers.iter().map(|newcomer| newcomer.key.device()).collect();
        // Postgres cannot store a site with NUL; the device is registered without a site.
        let sites: Vec<Option<&str>> = newcomers
            .iter()
            .map(|newcomer| newcomer.site.as_deref().filter(|site| !site.contains('\0')))
            .collect();
        let tokens: Vec<Option<String>> = newcomers
            .iter()
            .map(|newcomer| newcomer.token.as_ref().map(TokenHash::to_hex))
            .collect();
        let query = sqlx::query(ENROLL).bind(tenants).bind(devices).bind(sites).bind(tokens);
        answer(query.execute(&self.pool)).await?;
        Ok(())
    }
}

fn registry_answer(
    row: DirectoryRow,
    key: &DeviceKey,
    sites: &mut HashSet<Arc<str>>,
) -> Result<RegistryAnswer, Outage> {
    let (suspended, status, site, token, starts, ends, ids, fingerprints) = row;
    let tenant_suspended = suspended.unwrap_or(false);
    let Some(status) = status else {
        return Ok(RegistryAnswer { tenant_suspended, device: None });
    };
    let status = DeviceStatus::from_label(&status).ok_or_else(|| unreadable(key, "status"))?;
    let token = match token {
        Some(text) => Some(
            TokenHash::from_hex(&text).ok_or_else(|| unreadable(key, "provision_token_hash"))?,
        ),
        None => None,
    };
    let certificates = starts
        .into_iter()
        .flatten()
        .zip(ends.into_iter().flatten())
        .zip(ids.into_iter().flatten().zip(fingerprints.into_iter().flatten()))
        .map(|((start, end), (id, fingerprint))| {
            let half = hex::decode(&fingerprint);
            let half = half.ok_or_else(|| unreadable_certificate(id))?;
            let fingerprint = ShortFingerprint(half);
            Ok(CertificateWindow {
                id,
                fingerprint,
                not_before: start.into(),
                not_after: end.into(),
            })
        })
        .collect::<Result<Windows, Outage>>()?;
    let device =
        Device { status, site: site.map(|site| shared_site(site, sites)), token, certificates };
    Ok(RegistryAnswer { tenant_suspended, device: Some(device) })
}

/// Devices of one answer share the name of their site.
fn shared_site(site: String, sites: &mut HashSet<Arc<str>>) -> Arc<str> {
    let existing = sites.get(site.as_str()).cloned();
    existing.unwrap_or_else(|| {
        let site: Arc<str> = site.into();
        sites.insert(Arc::clone(&site));
        site
    })
}

/// The checks of the table forbid such a value, so they were removed.
fn unreadable(key: &DeviceKey, column: &str) -> Outage {
    Outage(format!(
        "devices.{column} of device {key} has a value that Sluice cannot read; correct the row"
    ))
}

/// As [`unreadable`], of a certificate.
fn unreadable_certificate(id: Uuid) -> Outage {
    Outage(format!(
        "device_certificates.fingerprint_sha256 of certificate {id} has a value that Sluice cannot read; correct the row"
    ))
}
