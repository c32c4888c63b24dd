//! Metrics of the jobs that replay the quarantine.

use super::declare::metrics;

metrics! {
    /// Updated by the task that works on the jobs.
    pub struct ReplayMetrics {
        /// 1 while this daemon works on a replay job of the quarantine.
        running: IntGauge("sluice_quarantine_replay_running"),
        /// Running replay jobs without progress for a minute, on any daemon.
        stalled: IntGauge("sluice_quarantine_replays_stalled"),
        /// Quarantined messages that replay jobs checked on this daemon, dry runs included.
        messages: IntCounter("sluice_quarantine_replay_messages_total"),
    }
}
