//! Metrics of revocation.

use super::declare::metrics;

/// Buckets in seconds, from one second to the hours in which an operator must act.
const SECONDS: [f64; 10] = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

metrics! {
    /// Updated by the publisher; a standby replica shows the state that the publisher noted.
    pub struct RevocationMetrics {
        /// Expiry of the last published CRL, in Unix time; 0 while there is none.
        next_update: IntGauge("sluice_crl_next_update_seconds"),
        /// 1 while the last check found that the broker refuses a revoked certificate and accepts a
        /// valid one.
        enforced: IntGauge("sluice_crl_enforced"),
        /// Open sessions of revoked devices that the last attempt could not end.
        sessions_not_ended: IntGauge("sluice_sessions_not_ended"),
        /// Seconds from the revocation's row to the proof that the broker enforces it.
        revocation_seconds: Histogram("sluice_revocation_seconds", SECONDS),
    }
}
