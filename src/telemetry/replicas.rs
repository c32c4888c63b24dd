//! Metrics of replicas on one broker.

use super::declare::metrics;

metrics! {
    /// Updated by the task that watches the replicas.
    pub struct ReplicaMetrics {
        /// Sessions of share-group members that are gone: their share of the messages waits at the
        /// broker. Each replica counts all of them.
        orphans: IntGauge("sluice_orphan_sessions"),
        /// Orphaned sessions that this replica has adopted and ended.
        adopted: IntCounter("sluice_adopted_sessions_total"),
        /// 1 while this replica drains: it has left its share group, and stores what waits for it.
        draining: IntGauge("sluice_draining"),
    }
}
