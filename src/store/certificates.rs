//! The inventory of certificates: holder, dates, status, replacement.
//!
//! It only reads. [`self::inventory`] lists, [`self::crl_history`] shows how the CRL grew,
//! [`self::changes`] writes, [`self::device_renewal`] stores what a device renews,
//! [`self::expiry`] expires and retires, [`self::ended`] deletes what ended long ago, [`self::public_keys`] fills in the hashes of keys,
//! [`self::revocation_ledger`] stores the steps of a revocation, [`self::revoked_keys`] finds keys that
//! must not be used again, [`self::valid_certificates`] reads those of the whole fleet. Rows may be written by hand, so dates are bounded to a readable range.

pub(crate) mod changes;
pub(crate) mod crl_history;
pub(crate) mod device_renewal;
pub(in crate::store) mod ended;
pub(crate) mod expiry;
pub mod inventory;
pub(crate) mod public_keys;
pub(in crate::store) mod publisher_lock;
pub mod revocation_ledger;
pub(in crate::store) mod revoked_keys;
pub(crate) mod valid_certificates;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::error::StoreError;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;

/// The columns of [`CertificateRow`]; a row written by hand may contain `infinity`.
pub(super) const COLUMNS: &str = "c.id, c.tenant_id, c.device_id, c.fingerprint_sha256, c.serial_number, c.common_name, c.issuer, \
    c.status, greatest(c.not_before, '0001-01-01Z') AS not_before, least(c.not_after, '9999-12-31Z') AS not_after, \
    CASE WHEN c.retire_at IS NOT NULL THEN least(c.retire_at, '9999-12-31Z') END AS retire_at, c.replaces, \
    (SELECT r.id FROM device_certificates r WHERE r.replaces = c.id ORDER BY r.status = 'ACTIVE' DESC, r.created_at DESC LIMIT 1) \
    AS replaced_by, c.revoked_at, c.revoked_reason, c.created_at, nullif(c.public_key_sha256, '') AS public_key_sha256";

/// ACTIVE and not replaced by an ACTIVE one.
pub(super) const NOT_REPLACED: &str = "c.status = 'ACTIVE' AND NOT EXISTS (SELECT FROM device_certificates n \
    WHERE n.replaces = c.id AND n.status = 'ACTIVE')";

/// A certificate's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CertificateStatus {
    /// Valid between its dates.
    Active,
    /// Revoked before it expired.
    Revoked,
    /// Past its expiry.
    Expired,
}

/// How a caller names a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handle {
    /// By the row's identifier.
    Id(Uuid),
    /// By SHA-256 of its DER, in lower-case hex.
    Fingerprint(String),
}

/// A row of `device_certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CertificateRow {
    /// Its identifier.
    pub id: Uuid,
    /// Its tenant.
    pub tenant_id: String,
    /// Its device.
    pub device_id: String,
    /// SHA-256 of its DER, in lower-case hex.
    pub fingerprint_sha256: String,
    /// Its serial number, in lower-case hex.
    pub serial_number: String,
    /// Its common name.
    pub common_name: String,
    /// Its issuer.
    pub issuer: String,
    /// `ACTIVE`, `REVOKED` or `EXPIRED`.
    pub status: CertificateStatus,
    /// When it becomes valid.
    pub not_before: DateTime<Utc>,
    /// When it expires.
    pub not_after: DateTime<Utc>,
    /// When it retires, because another certificate replaces it.
    pub retire_at: Option<DateTime<Utc>>,
    /// The certificate it replaces.
    pub replaces: Option<Uuid>,
    /// The certificate that replaces it; if there are several, an ACTIVE one.
    pub replaced_by: Option<Uuid>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The reason, by its name in RFC 5280.
    pub revoked_reason: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// SHA-256 of its public key, in lower-case hex, if Sluice has read it.
    pub public_key_sha256: Option<String>,
}

/// A certificate and its PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CertificateDetail {
    /// The certificate.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub certificate: CertificateRow,
    /// The certificate in PEM, unless the row was written by hand without it.
    pub cert_pem: Option<String>,
}

/// Why a certificate was not found, stored or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It does not exist.
    #[error("certificate {0} not found")]
    Unknown(Handle),
    /// Its device is not registered.
    #[error("device {} not found in tenant {}", .0.device(), .0.tenant())]
    NoDevice(DeviceKey),
    /// Its device is REVOKED.
    #[error("device {0} is REVOKED and cannot get a certificate")]
    DeviceRevoked(DeviceKey),
    /// The same certificate is stored.
    #[error(
        "the fingerprint {fingerprint} is already registered: certificate {id} of device {device}"
    )]
    FingerprintTaken {
        /// SHA-256 of its DER.
        fingerprint: String,
        /// The row that has it.
        id: Uuid,
        /// Its device.
        device: String,
    },
    /// Another certificate of the issuer has the serial number.
    #[error("issuer {issuer} has already used the serial number {serial} for another certificate")]
    SerialTaken {
        /// The issuer.
        issuer: String,
        /// The number.
        serial: String,
    },
    /// Its status does not allow the change.
    #[error("certificate {id} is {status}; only an ACTIVE certificate can be changed")]
    NotActive {
        /// The certificate.
        id: Uuid,
        /// Its status.
        status: CertificateStatus,
    },
    /// It replaces no certificate.
    #[error("certificate {0} does not replace another certificate, so there is nothing to confirm")]
    ReplacesNone(Uuid),
    /// Another certificate has replaced it.
    #[error("certificate {id} is already replaced by {by}, which is ACTIVE")]
    Replaced {
        /// The certificate.
        id: Uuid,
        /// Its replacement.
        by: Uuid,
    },
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Reads one certificate.
pub async fn find(pool: &PgPool, handle: &Handle) -> Result<CertificateDetail, CertificateError> {
    find_on(&mut *pool.acquire().await?, handle).await
}

/// Like [`find`], within a transaction.
pub(super) async fn find_on(
    connection: &mut PgConnection,
    handle: &Handle,
) -> Result<CertificateDetail, CertificateError> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(COLUMNS).push(", c.cert_pem FROM device_certificates c WHERE ");
    match handle {
        Handle::Id(id) => query.push("c.id = ").push_bind(*id),
        Handle::Fingerprint(fingerprint) => {
            query.push("c.fingerprint_sha256 = ").push_bind(fingerprint.as_str())
        }
    };
    let found = query.build_query_as().fetch_optional(connection).await?;
    found.ok_or_else(|| CertificateError::Unknown(handle.clone()))
}

// === impl CertificateStatus ===

impl CertificateStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Revoked, Self::Expired];

    /// The name in the table.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The status of that name.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.label() == label)
    }
}

impl std::fmt::Display for CertificateStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

// === impl Handle ===

impl std::str::FromStr for Handle {
    type Err = &'static str;

    /// Parses a UUID, or 64 hex digits; colons (as OpenSSL prints them) are ignored.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits = text.replace(':', "").to_ascii_lowercase();
        let is_fingerprint =
            digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_fingerprint {
            Ok(Self::Fingerprint(digits))
        } else {
            Err("expected an identifier (UUID) or a SHA-256 fingerprint")
        }
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Fingerprint(fingerprint) => f.write_str(fingerprint),
        }
    }
}

// === impl CertificateError ===

impl From<sqlx::Error> for CertificateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_a_uuid_or_a_fingerprint() {
        let id = Uuid::nil();
        assert_eq!(id.to_string().parse(), Ok(Handle::Id(id)));
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(colons.parse(), Ok(Handle::Fingerprint("ab".repeat(32))));
        for wrong in ["", "ab", "acme/pump-1", &"g".repeat(64), &"a".repeat(63)] {
            assert!(wrong.parse::<Handle>().is_err(), "{wrong}");
        }
    }
}
