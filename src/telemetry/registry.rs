//! Metrics of the certificates' registry.

use super::metrics::metrics;

metrics! {
    /// Updated by the keeper of the certificates, each minute.
    pub struct RegistryMetrics {
        /// Certificates in the registry, by status.
        certificates: IntGaugeVec("sluice_certificates", ["status"]),
        /// When the first ACTIVE certificate ends, in Unix time; 0 when there is none.
        earliest_not_after: IntGauge("sluice_certificate_earliest_not_after_seconds"),
    }
}
