//! Metrics of the public credentials.

use super::declare::metrics;

metrics! {
    /// Updated by the public listener.
    pub struct GuestMetrics {
        /// Public credentials issued.
        issued: IntCounter("sluice_guest_credentials_issued_total"),
        /// Requests for a public credential refused because their address asks too often.
        rate_limited: IntCounter("sluice_guest_credentials_rate_limited_total"),
        /// Requests for a public credential refused because as many as may be are good already.
        full: IntCounter("sluice_guest_credentials_full_total"),
    }
}
