//! Metrics of the public credentials.

use super::declare::metrics;

metrics! {
    /// Updated by the public listener.
    pub struct GuestMetrics {
        /// Public credentials issued.
        issued: IntCounter("sluice_guest_credentials_issued_total"),
        /// Requests for a public credential refused by the rate limit of their address.
        rate_limited: IntCounter("sluice_guest_credentials_rate_limited_total"),
        /// Requests for a public credential refused because the maximum number of them is valid.
        full: IntCounter("sluice_guest_credentials_full_total"),
    }
}
