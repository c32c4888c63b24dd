//! Metrics of revocation.

use super::declare::metrics;

/// Buckets in seconds, from one second to the hours in which an operator must act.
const SECONDS: [f64; 10] = [0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

metrics! {
    /// Updated by the publisher; a standby replica shows the state that the publisher noted.
    pub struct RevocationMetrics {
        /// When the CRL published last ends, in Unix time; 0 while there is none.
        next_update: IntGauge("sluice_crl_next_update_seconds"),
        /// 1 while the broker was last seen to refuse a revoked certificate and to let a valid one
        /// in.
        enforced: IntGauge("sluice_crl_enforced"),
        /// Live sessions of revoked devices that could not be ended when that was last tried.
        sessions_not_ended: IntGauge("sluice_sessions_not_ended"),
        /// Seconds from the revocation's row to the proof that the broker acts on it.
        revocation_seconds: Histogram("sluice_revocation_seconds", SECONDS),
    }
}
