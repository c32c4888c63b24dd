//! Metrics of the certificate registry.

use super::declare::metrics;

metrics! {
    /// Updated by certificate upkeep each minute, and by the watches of the authorities.
    pub struct CertificateMetrics {
        /// Certificates in the registry, by status.
        certificates: IntGaugeVec("sluice_certificates", ["status"]),
        /// Earliest expiry of an ACTIVE certificate, in Unix time; 0 when there is none.
        earliest_not_after: IntGauge("sluice_certificate_earliest_not_after_seconds"),
        /// Expiry of the authority that signs devices, in Unix time; 0 when none is set or it cannot
        /// be read.
        authority_not_after: IntGauge("sluice_ca_not_after_seconds"),
        /// Expiry of the authority of a cell, in Unix time, by its name in `CELL_AUTHORITIES_DIR`; 0 when it
        /// cannot be used.
        cell_authority_not_after: IntGaugeVec("sluice_cell_authority_not_after_seconds", ["authority"]),
        /// Certificates that replaced another, by the way the request came: mqtt, est or api. The
        /// command line is not counted.
        renewed: IntCounterVec("sluice_certificates_renewed_total", ["by"]),
    }
}

/// The way of a request for a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewedBy {
    /// A device, over MQTT.
    Mqtt,
    /// A device, by EST.
    Est,
    /// An operator, by the HTTP API.
    Api,
}

// === impl RenewedBy ===

impl RenewedBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mqtt, Self::Est, Self::Api];

    /// The value of the label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Est => "est",
            Self::Api => "api",
        }
    }
}

// === impl CertificateMetrics ===

impl CertificateMetrics {
    /// Counts one renewal.
    pub fn count_renewed(&self, by: RenewedBy) {
        self.renewed.with_label_values(&[by.label()]).inc();
    }
}
