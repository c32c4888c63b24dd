//! Metrics of what is published to devices.

use super::declare::metrics;

/// Buckets in seconds, from a device that is connected to a broker that is away for an hour.
const DELIVERY_SECONDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 600.0, 3600.0];

metrics! {
    /// Updated by the replica that publishes; on the others the gauges are 0.
    pub struct DownlinkMetrics {
        /// 1 while this replica publishes the commands and documents.
        publisher: IntGauge("sluice_outbox_publisher"),
        /// Commands that are not finished, by state; counted every 15 seconds.
        commands: IntGaugeVec("sluice_commands", ["state"]),
        /// Seconds from a command's creation to the broker's first acceptance of it.
        command_delivery_seconds: Histogram("sluice_command_delivery_seconds", DELIVERY_SECONDS),
        /// Desired documents and notices that the broker does not have in their latest revision.
        dirty: IntGauge("sluice_outbox_dirty"),
        /// Seconds for which the oldest document or the oldest command that may be published has
        /// waited for the broker.
        oldest_seconds: Gauge("sluice_outbox_oldest_seconds"),
    }
}
