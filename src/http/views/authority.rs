//! Views of the authority, its CRL, and of certificates in words and by their end. They contain no
//! private key.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificates::CertificateDetailView;
use super::view;
use crate::pki::decoded::DecodedCertificate;
use crate::store::certificates::crl_history::RevokedWeek;
use crate::store::certificates::inventory::{EndCount, ExpiryCounts, ExpiryWeek};

view! {
    /// The fields of a certificate in words.
    DecodedCertificateView as "DecodedCertificate" of DecodedCertificate {
        /// The version of X.509.
        version: u32,
        /// The distinguished name of the owner.
        subject: String,
        /// The distinguished name of the authority.
        issuer: String,
        /// The serial number as OpenSSL prints it.
        serial: String,
        /// How the certificate is signed.
        signature_algorithm: String,
        /// The kind of its key.
        key: String,
        /// The subject alternative names, each with its type.
        subject_alternative_names: Vec<String>,
        /// What the key may do.
        key_usage: Vec<String>,
        /// For what the certificate may be used.
        extended_key_usage: Vec<String>,
        /// Whether the certificate may sign certificates.
        is_authority: bool,
        /// The identifier of its key in hex.
        subject_key_id: Option<String>,
        /// The identifier of the key that signed it, in hex.
        authority_key_id: Option<String>,
        /// The numbers of all other extensions.
        other_extensions: Vec<String>,
    }
}

/// A certificate with its PEM and its fields in words.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ShownCertificate")]
pub(crate) struct ShownCertificateView {
    /// The certificate.
    #[serde(flatten)]
    pub detail: CertificateDetailView,
    /// The fields of the certificate in words; null without its PEM.
    pub decoded: Option<DecodedCertificateView>,
}

view! {
    /// Certificates that end in a period.
    EndCountView as "EndCount" of EndCount {
        /// All of them.
        ending: u32,
        /// Those that no ACTIVE certificate replaces.
        unreplaced: u32,
    }
}

view! {
    /// Certificates that end in a calendar week.
    ExpiryWeekView as "ExpiryWeek" of ExpiryWeek {
        /// The Monday of the week, in UTC.
        first_day: NaiveDate,
        /// All of them.
        ending: u32,
        /// Those that no ACTIVE certificate replaces.
        unreplaced: u32,
    }
}

/// ACTIVE certificates by their end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CertificateExpiry")]
pub(crate) struct CertificateExpiryView {
    /// Certificates whose end has passed, and which Sluice has not marked EXPIRED yet.
    pub past: EndCountView,
    /// Certificates that end within 30 days.
    pub due: EndCountView,
    /// Certificates by week, this week first.
    pub weeks: Vec<ExpiryWeekView>,
    /// Certificates that end later than these weeks.
    pub later: EndCountView,
}

/// The authority that signs devices' certificates.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Authority")]
pub(crate) struct AuthorityView {
    /// The file.
    pub path: String,
    /// What is wrong with the authority, and what to do; null if it signs.
    pub warning: Option<String>,
    /// Its own certificate, then those above it, then other authorities of the file.
    pub certificates: Vec<AuthorityCertificateView>,
}

/// A certificate of an authority.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuthorityCertificate")]
pub(crate) struct AuthorityCertificateView {
    /// `signer` (signs devices' certificates) or `chain` (above the signer).
    pub role: String,
    /// The SHA-256 fingerprint in lower-case hex.
    pub fingerprint_sha256: String,
    /// The start of the validity.
    pub not_before: DateTime<Utc>,
    /// The end of the validity.
    pub not_after: DateTime<Utc>,
    /// The whole days until the end; negative after it.
    pub days_left: i64,
    /// ACTIVE certificates of devices that it issued; null for one above the signer, and for a
    /// caller of one tenant.
    pub active_certificates: Option<i64>,
    /// ACTIVE certificates that another authority issued: those of an earlier authority, or of the
    /// successor; null for one above the signer.
    pub active_of_others: Option<i64>,
    /// The certificate in PEM.
    pub cert_pem: String,
    /// The fields of the certificate in words.
    pub decoded: DecodedCertificateView,
}

view! {
    /// Certificates that were revoked in a calendar week.
    RevokedWeekView as "RevokedWeek" of RevokedWeek {
        /// The Monday of the week, in UTC.
        first_day: NaiveDate,
        /// How many.
        revoked: i64,
    }
}

/// The CRL that was published last, its file, and what the broker enforces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CrlStatus")]
pub(crate) struct CrlStatusView {
    /// The name of the authority; null if no CRL was published.
    pub issuer: Option<String>,
    /// The number; 0 if no CRL was published.
    pub number: i64,
    /// The number of entries, with the probe certificates that Sluice revokes itself.
    pub entries: i64,
    /// When the CRL becomes valid; null if no CRL was published or it cannot be read.
    pub this_update: Option<DateTime<Utc>>,
    /// When the CRL ends: from then on the broker refuses every device.
    pub next_update: Option<DateTime<Utc>>,
    /// When the CRL was published.
    pub published_at: Option<DateTime<Utc>>,
    /// The file of the broker.
    pub file: CrlFileView,
    /// Whether the broker refused a certificate of this CRL and accepted a valid one; null if that
    /// was not checked.
    pub enforced: Option<bool>,
    /// What the check found wrong.
    pub finding: Option<String>,
    /// When the broker was last checked.
    pub checked_at: Option<DateTime<Utc>>,
    /// When the broker was last notified because of a revocation.
    pub reloaded_at: Option<DateTime<Utc>>,
    /// When a revocation was last proven.
    pub proven_at: Option<DateTime<Utc>>,
    /// Revocations of certificates that have not ended, which are not proven.
    pub unproven: i64,
    /// Of these, those whose last step failed.
    pub failed: i64,
    /// Revocations by week, this week last.
    pub growth: Vec<RevokedWeekView>,
}

/// The CRL file that the broker reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CrlFile")]
pub(crate) struct CrlFileView {
    /// `CRL_OUTPUT_PATH`; null if it is not set.
    pub path: Option<String>,
    /// The number of the CRL in the file; null if the file is wrong or not set.
    pub number: Option<u64>,
    /// What is wrong with the file; null if it is the CRL that was published last.
    pub fault: Option<String>,
}

// === impl CertificateExpiryView ===

impl From<ExpiryCounts> for CertificateExpiryView {
    fn from(counts: ExpiryCounts) -> Self {
        let ExpiryCounts { past, due, weeks, later } = counts;
        let weeks = weeks.into_iter().map(ExpiryWeekView::from).collect();
        Self { past: past.into(), due: due.into(), weeks, later: later.into() }
    }
}
