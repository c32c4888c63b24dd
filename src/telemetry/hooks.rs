//! Metrics of the broker's hook requests.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;

/// Buckets in seconds. Mosquitto blocks on the answer, so they start at 50 microseconds.
const SECONDS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5];

/// The hooks, and the logins that the broker's plugin asks about.
pub const HOOKS: [&str; 4] = ["user", "superuser", "acl", "plugin"];

/// The position of the plugin in [`HOOKS`].
pub const PLUGIN: usize = 3;

/// The results of a hook request.
pub const RESULTS: [&str; 3] = ["allowed", "denied", "fault"];

metrics! {
    /// The metrics without labels.
    pub struct HookCounters {
        /// Seconds from a hook request of the broker to its answer.
        seconds: Histogram("sluice_access_seconds", SECONDS),
        /// Hook requests denied because of a failure of Sluice, not because of a rule: alert on any.
        faults: IntCounter("sluice_access_faults_total"),
        /// Logins that were not written to Postgres in time: a restart of the daemon loses them.
        logins_lost: IntCounter("sluice_access_logins_lost_total"),
        /// 1 while the policy in force is the one in the file; 0 while the file is invalid and an
        /// older policy is in force.
        policy_current: IntGauge("sluice_access_policy_current"),
    }
}

/// Updated by the code that answers hook requests.
#[derive(Clone, Debug)]
pub struct HookMetrics {
    /// The metrics without labels.
    pub plain: HookCounters,
    decisions: Vec<IntCounter>,
}

// === impl HookMetrics ===

impl HookMetrics {
    /// Creates and registers all of them; each known label starts at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Hook requests of the broker, and logins that its plugin asks about, by hook and result.";
        let decisions = IntCounterVec::new(
            Opts::new("sluice_access_decisions_total", help),
            &["hook", "result"],
        )?;
        registry.register(Box::new(decisions.clone()))?;
        let pairs = HOOKS.iter().flat_map(|hook| RESULTS.map(|result| [*hook, result]));
        let decisions = pairs.map(|labels| decisions.with_label_values(&labels)).collect();
        let plain = HookCounters::register(registry)?;
        plain.policy_current.set(1);
        Ok(Self { plain, decisions })
    }

    /// Returns the counter of a hook and a result, by their index in [`HOOKS`] and [`RESULTS`].
    pub fn decided(&self, hook: usize, result: usize) -> &IntCounter {
        &self.decisions[hook * RESULTS.len() + result]
    }
}
