//! Metrics of enrolment over Secure Transport.

use super::declare::metrics;

metrics! {
    /// Updated by the EST listener.
    pub struct EstMetrics {
        /// Requests to the EST listener, by route and status of the response.
        requests: IntCounterVec("sluice_est_requests_total", ["route", "status"]),
        /// First certificates, by the way they were requested.
        enrolled: IntCounterVec("sluice_certificates_enrolled_total", ["by"]),
        /// TLS handshakes at the EST listener that failed: a client certificate that is expired or of
        /// another authority, or a client that does not trust the certificate of the listener.
        failed_handshakes: IntCounter("sluice_est_handshakes_failed_total"),
        /// Expiry of the certificate of the EST listener, in Unix time; 0 without that listener.
        certificate_not_after: IntGauge("sluice_est_certificate_not_after_seconds"),
        /// 1 while the EST listener uses the current content of its files; 0 while it uses the content
        /// that it read before, because the files cannot be used.
        certificate_current: IntGauge("sluice_est_certificate_current"),
    }
}

/// The `by` of a certificate from the EST listener.
pub const BY_EST: &str = "est";

// === impl EstMetrics ===

impl EstMetrics {
    /// Creates and registers all of them; the known series start at zero.
    pub fn new(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let all = Self::register(registry)?;
        all.enrolled.with_label_values(&[BY_EST]);
        Ok(all)
    }
}
