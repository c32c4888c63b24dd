//! A certificate as a row, and the addresses of certificates.
//!
//! It reads no data.

use crate::console::device_address::device_path;
use crate::console::query::PageQuery;
use crate::http::CertificateView;
use crate::store::certificates::CertificateStatus;

/// The address of the list.
pub(super) const CERTIFICATES: &str = "/console/certificates";

/// What the list shows without a search.
const USUAL: &str = "status:ACTIVE";

/// The names of the address that the API knows.
const OF_API: [&str; 2] = ["search", "sort"];

/// A row.
pub(super) struct ListedCertificate(pub CertificateView);

/// The query of an address, with the search that applies without one.
pub(super) fn effective(query: &PageQuery) -> PageQuery {
    let cursor = query.get("cursor").unwrap_or_default().to_owned();
    match query.get("search") {
        Some(_) => query.clone(),
        None => query.with("search", USUAL).with("cursor", &cursor),
    }
}

/// The part of a query that the API knows.
pub(super) fn api_query(query: &PageQuery) -> PageQuery {
    query.only(&OF_API)
}

/// The tone of a status.
pub(super) const fn tone(status: CertificateStatus) -> &'static str {
    match status {
        CertificateStatus::Active => "ok",
        CertificateStatus::Revoked => "bad",
        CertificateStatus::Expired => "warn",
    }
}

// === impl ListedCertificate ===

impl ListedCertificate {
    pub(super) fn href(&self) -> String {
        format!("{CERTIFICATES}/{}", self.0.id)
    }

    pub(super) fn device(&self) -> String {
        device_path(&self.0.tenant_id, &self.0.device_id)
    }

    /// The beginning of the fingerprint.
    pub(super) fn short(&self) -> String {
        self.0.fingerprint_sha256.chars().take(12).collect()
    }

    pub(super) const fn tone(&self) -> &'static str {
        tone(self.0.status)
    }

    pub(super) fn is_active(&self) -> bool {
        self.0.status == CertificateStatus::Active
    }
}
