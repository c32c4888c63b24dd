//! Metrics of the door: who is let in, by whose word.

use super::declare::metrics;

metrics! {
    /// Updated by those who keep the issuers' keys; the issuers are those of the settings.
    pub struct IssuerKeyMetrics {
        /// Seconds since the keys of this issuer were last read from it; -1 while they never were.
        keys_age: IntGaugeVec("sluice_jwks_age_seconds", ["issuer"]),
    }
}

// === impl AccessMetrics ===

impl IssuerKeyMetrics {
    /// How old the keys of this issuer are; none: they were never read.
    pub fn show_keys_age(&self, issuer: &str, seconds: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, reason = "an age in seconds is far below 2^63")]
        let age = seconds.map_or(-1, |age| age.max(0.0) as i64);
        self.keys_age.with_label_values(&[issuer]).set(age);
    }
}
