//! Views of certificates. They contain no private key.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::view;
use crate::http::api::params::Param;
use crate::store::certificates::{CertificateDetail, CertificateRow, CertificateStatus};

view! {
    /// A certificate.
    CertificateView as "Certificate" of CertificateRow {
        /// The identifier.
        id: Uuid,
        /// The tenant of the device.
        tenant_id: String,
        /// The device.
        device_id: String,
        /// The SHA-256 fingerprint in lower-case hex.
        fingerprint_sha256: String,
        /// The serial number of the issuer in lower-case hex.
        serial_number: String,
        /// The common name.
        common_name: String,
        /// The name of the authority that signed the certificate.
        issuer: String,
        /// The status of the certificate.
        #[schemars(with = "Param<CertificateStatus>")]
        status: CertificateStatus,
        /// The start of the validity.
        not_before: DateTime<Utc>,
        /// The end of the validity.
        not_after: DateTime<Utc>,
        /// When the certificate is revoked because another replaces it.
        retire_at: Option<DateTime<Utc>>,
        /// The certificate that this one replaces.
        replaces: Option<Uuid>,
        /// The certificate that replaces this one; an ACTIVE one comes first.
        replaced_by: Option<Uuid>,
        /// When the certificate was revoked.
        revoked_at: Option<DateTime<Utc>>,
        /// The reason of the revocation as RFC 5280 names it.
        revoked_reason: Option<String>,
        /// When the row was created.
        created_at: DateTime<Utc>,
        /// The SHA-256 of the public key in lower-case hex; null if Sluice has not read the certificate.
        public_key_sha256: Option<String>,
    }
}

view! {
    /// A certificate with its PEM.
    CertificateDetailView as "CertificateDetail" of CertificateDetail {
        /// The certificate.
        #[serde(flatten)]
        certificate: CertificateView,
        /// The certificate in PEM; null if the row was written by hand without it.
        cert_pem: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{day, json_of};
    use super::*;

    #[test]
    fn a_certificate_has_this_json() {
        let certificate = CertificateRow {
            id: Uuid::from_u128(1),
            tenant_id: "acme".into(),
            device_id: "pump-1".into(),
            fingerprint_sha256: "ab".into(),
            serial_number: "0c".into(),
            common_name: "acme/device/pump-1".into(),
            issuer: "CN=Devices".into(),
            status: CertificateStatus::Revoked,
            not_before: day(1),
            not_after: day(30),
            retire_at: None,
            replaces: Some(Uuid::from_u128(2)),
            replaced_by: None,
            revoked_at: Some(day(3)),
            revoked_reason: Some("keyCompromise".into()),
            created_at: day(1),
            public_key_sha256: Some("cd".into()),
        };
        let row = concat!(
            r#"{"id":"00000000-0000-0000-0000-000000000001","tenant_id":"acme","device_id":"pump-1","#,
            r#""fingerprint_sha256":"ab","serial_number":"0c","common_name":"acme/device/pump-1","#,
            r#""issuer":"CN=Devices","status":"REVOKED","not_before":"2026-11-01T00:00:00Z","#,
            r#""not_after":"2026-11-30T00:00:00Z","retire_at":null,"#,
            r#""replaces":"00000000-0000-0000-0000-000000000002","replaced_by":null,"#,
            r#""revoked_at":"2026-11-03T00:00:00Z","revoked_reason":"keyCompromise","#,
            r#""created_at":"2026-11-01T00:00:00Z","public_key_sha256":"cd""#
        );
        assert_eq!(json_of::<_, CertificateView>(certificate.clone()), format!("{row}}}"));
        let detail = CertificateDetail { certificate, cert_pem: Some("PEM".into()) };
        let expected = format!(r#"{row},"cert_pem":"PEM"}}"#);
        assert_eq!(json_of::<_, CertificateDetailView>(detail), expected);
    }
}
