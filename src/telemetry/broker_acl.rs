//! Metrics of the broker's access rules.

use super::declare::metrics;

metrics! {
    /// Updated by the publisher; a standby replica shows the state that the publisher noted.
    pub struct BrokerAclMetrics {
        /// 1 while the file of access rules holds what the registry says and the broker was
        /// notified of it; -1 where none are written.
        current: IntGauge("sluice_broker_acl_current"),
        /// Lines of access rules made from the registry, in the file written last.
        rows: IntGauge("sluice_broker_acl_rows"),
        /// Times this replica wrote the file of access rules.
        written: IntCounter("sluice_broker_acl_written_total"),
    }
}
