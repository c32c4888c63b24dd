//! The certificates that may connect: of the whole fleet in pages, or of some devices.
//!
//! It has the same conditions as the look-up of one device ([`crate::store::registry::directory`]). It
//! returns a certificate also before its start: the reader knows the time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::answer;

/// Devices of one page.
const PAGE_DEVICES: i64 = 2_000;

/// Rows written by hand may contain `infinity`; the bounds keep such dates readable.
macro_rules! valid_certificates {
    ($from:literal) => {
        concat!(
            "SELECT p.tenant_id, p.device_id, c.fingerprint_sha256, greatest(c.not_before, '0001-01-01Z') AS starts, ",
            "least(c.not_after, c.retire_at, '9999-12-31Z') AS ends FROM ",
            $from,
            " LEFT JOIN device_certificates c ON c.tenant_id = p.tenant_id AND c.device_id = p.device_id AND c.status = 'ACTIVE' ",
            "AND least(c.not_after, c.retire_at) > now() ",
            "AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.certificate_id = c.id) ",
            "AND NOT EXISTS (SELECT FROM revoked_certificates r WHERE r.issuer = c.issuer AND r.serial_number = c.serial_number) ",
            "ORDER BY p.tenant_id, p.device_id"
        )
    };
}

const PAGE: &str = valid_certificates!(
    "(SELECT d.tenant_id, d.device_id FROM devices d JOIN tenants t USING (tenant_id) \
      WHERE (d.tenant_id, d.device_id) > ($1, $2) AND d.status = 'ACTIVE' AND t.status <> 'SUSPENDED' \
      ORDER BY d.tenant_id, d.device_id LIMIT $3) p"
);

const OF_DEVICES: &str = valid_certificates!(
    "(SELECT d.tenant_id, d.device_id FROM unnest($1::text[], $2::text[]) AS named (tenant_id, device_id) \
      JOIN devices d USING (tenant_id, device_id) JOIN tenants t USING (tenant_id) \
      WHERE d.status = 'ACTIVE' AND t.status <> 'SUSPENDED') p"
);

/// One certificate that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCertificate {
    /// SHA-256 of its DER, in lower-case hex.
    pub fingerprint: Box<str>,
    /// Valid from this time on.
    pub from: Timestamp,
    /// Invalid from this time on: its end, or that of its grace after a rotation.
    pub until: Timestamp,
}

/// Devices with their valid certificates. A device without one may be missing.
pub type DeviceCertificates = BTreeMap<DeviceKey, Vec<ValidCertificate>>;

/// One page of the fleet.
#[derive(Debug, Default)]
pub struct FleetPage {
    /// Its devices.
    pub devices: DeviceCertificates,
    /// The place after which the next page begins; `None` means that this is the last one.
    pub next: Option<FleetPlace>,
}

/// A place in the order of all devices; the default is before the first one.
#[derive(Clone, Debug, Default)]
pub struct FleetPlace {
    tenant: String,
    device: String,
}

/// Reads the certificates that may connect.
#[derive(Clone, Debug)]
pub struct ValidCertificates {
    pool: PgPool,
}

type Row = (String, String, Option<String>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

// === impl ValidCertificates ===

impl ValidCertificates {
    /// A reader on `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The devices after `place`, in their order.
    pub async fn page(&self, place: &FleetPlace) -> Result<FleetPage, Outage> {
        let query = sqlx::query_as(PAGE).bind(&place.tenant).bind(&place.device).bind(PAGE_DEVICES);
        let rows: Vec<Row> = answer(query.fetch_all(&self.pool)).await?;
        let last = rows.last();
        let next = last.map(|row| FleetPlace { tenant: row.0.clone(), device: row.1.clone() });
        Ok(FleetPage { devices: grouped(rows), next })
    }

    /// These devices. One that may not connect has no certificate.
    pub async fn of(&self, devices: &[DeviceKey]) -> Result<DeviceCertificates, Outage> {
        let tenants: Vec<&str> = devices.iter().map(DeviceKey::tenant).collect();
        let names: Vec<&str> = devices.iter().map(DeviceKey::device).collect();
        let query = sqlx::query_as(OF_DEVICES).bind(tenants).bind(names);
        let mut found = grouped(answer(query.fetch_all(&self.pool)).await?);
        for device in devices {
            found.entry(device.clone()).or_default();
        }
        Ok(found)
    }
}

// --- private helpers ---

/// Rows by device. The checks of the tables forbid a name that is none, so such a row cannot connect.
fn grouped(rows: Vec<Row>) -> DeviceCertificates {
    let mut devices = DeviceCertificates::new();
    for (tenant, device, fingerprint, from, until) in rows {
        let (Some(fingerprint), Some(from), Some(until)) = (fingerprint, from, until) else {
            continue;
        };
        let Ok(device) = DeviceKey::new(&tenant, &device) else { continue };
        let (from, until) = (from.into(), until.into());
        let certificate = ValidCertificate { fingerprint: fingerprint.into(), from, until };
        devices.entry(device).or_default().push(certificate);
    }
    devices
}
