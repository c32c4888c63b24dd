//! Metrics of the certificate registry.

use super::declare::metrics;

metrics! {
    /// Updated by certificate upkeep each minute, and by the watch of the authority.
    pub struct CertificateMetrics {
        /// Certificates in the registry, by status.
        certificates: IntGaugeVec("sluice_certificates", ["status"]),
        /// Earliest expiry of an ACTIVE certificate, in Unix time; 0 when there is none.
        earliest_not_after: IntGauge("sluice_certificate_earliest_not_after_seconds"),
        /// Expiry of the authority that signs devices, in Unix time; 0 when none is set or it cannot
        /// be read.
        authority_not_after: IntGauge("sluice_ca_not_after_seconds"),
    }
}
