//! Metrics of the keys of token issuers.

use super::declare::metrics;

metrics! {
    /// Updated by the tasks that refresh keys. The issuers come from the settings.
    pub struct IssuerKeyMetrics {
        /// Seconds since the keys of this issuer were last read; -1 before the first read.
        keys_age: IntGaugeVec("sluice_jwks_age_seconds", ["issuer"]),
    }
}

// === impl IssuerKeyMetrics ===

impl IssuerKeyMetrics {
    /// Sets the age of this issuer's keys; `None` means that they were never read.
    pub fn set_keys_age(&self, issuer: &str, seconds: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, reason = "an age in seconds is far below 2^63")]
        let age = seconds.map_or(-1, |age| age.max(0.0) as i64);
        self.keys_age.with_label_values(&[issuer]).set(age);
    }
}
