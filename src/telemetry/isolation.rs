//! Metrics of the proof that the broker isolates devices.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The results of a check.
pub const RESULTS: [&str; 4] = ["enforced", "broken", "own_refused", "unknown"];

/// Updated by each replica for its own checks.
#[derive(Clone, Debug)]
pub struct IsolationMetrics {
    /// 1 while the last check found that the broker accepts a device's own topic and refuses those
    /// of other devices.
    pub enforced: IntGauge,
    checks: IntCounterVec,
}

// === impl IsolationMetrics ===

impl IsolationMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "1 while the last check found that the broker accepts a device's own topic and refuses those of other devices.";
        let enforced = IntGauge::new("sluice_isolation_enforced", help)?;
        registry.register(Box::new(enforced.clone()))?;
        let help = "Checks of the isolation of devices at the broker, by result.";
        let checks =
            IntCounterVec::new(Opts::new("sluice_isolation_checks_total", help), &["result"])?;
        registry.register(Box::new(checks.clone()))?;
        for result in RESULTS {
            checks.with_label_values(&[result]);
        }
        Ok(Self { enforced, checks })
    }

    /// Counts one check; `result` is one of [`RESULTS`].
    pub fn count(&self, result: &str) {
        self.checks.with_label_values(&[result]).inc();
    }
}
