//! Metrics of the broker's access rules.

use super::declare::metrics;

metrics! {
    /// Updated by the publisher; a standby replica shows the state that the publisher noted.
    pub struct BrokerAclMetrics {
        /// 1 while the access rules match the registry and the broker was notified of them; 0 while
        /// not; -1 where Sluice writes none.
        current: IntGauge("sluice_broker_acl_current"),
        /// Lines from the registry in the last access rules file.
        rows: IntGauge("sluice_broker_acl_rows"),
        /// Times this replica wrote the access rules file.
        written: IntCounter("sluice_broker_acl_written_total"),
    }
}
