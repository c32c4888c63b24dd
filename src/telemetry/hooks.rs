//! Metrics of the broker's questions.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;

/// Seconds: the broker stands still for as long, so they begin where it is not felt.
const SECONDS: [f64; 12] = [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5];

/// The questions there are.
pub const HOOKS: [&str; 3] = ["user", "superuser", "acl"];

/// What becomes of one.
pub const RESULTS: [&str; 3] = ["allowed", "denied", "fault"];

metrics! {
    /// Without labels.
    pub struct HookCounters {
        /// Seconds from a question of the broker to its answer.
        seconds: Histogram("sluice_access_seconds", SECONDS),
        /// Questions of the broker denied because something here failed, not because of who asked: alert on any.
        faults: IntCounter("sluice_access_faults_total"),
        /// Logins that a restart of the daemon would forget, because Postgres did not take them in time.
        logins_lost: IntCounter("sluice_access_logins_lost_total"),
        /// 1 while the policy in force is the one in the file; 0 while that is wrong and an older one holds.
        policy_current: IntGauge("sluice_access_policy_current"),
    }
}

/// Updated by those who answer the broker.
#[derive(Clone, Debug)]
pub struct HookMetrics {
    /// Those without labels.
    pub plain: HookCounters,
    decisions: Vec<IntCounter>,
}

// === impl DoorMetrics ===

impl HookMetrics {
    /// Makes them all and registers them; every known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Questions of the broker, by hook and by what was answered.";
        let decisions = IntCounterVec::new(Opts::new("sluice_access_decisions_total", help), &["hook", "result"])?;
        registry.register(Box::new(decisions.clone()))?;
        let pairs = HOOKS.iter().flat_map(|hook| RESULTS.map(|result| [*hook, result]));
        let decisions = pairs.map(|labels| decisions.with_label_values(&labels)).collect();
        let plain = HookCounters::register(registry)?;
        plain.policy_current.set(1);
        Ok(Self { plain, decisions })
    }

    /// The counter of a hook and a result, by their places in [`HOOKS`] and [`RESULTS`].
    pub fn decided(&self, hook: usize, result: usize) -> &IntCounter {
        &self.decisions[hook * RESULTS.len() + result]
    }
}
