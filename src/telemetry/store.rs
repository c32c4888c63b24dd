//! Metrics of Postgres.

use super::declare::metrics;

metrics! {
    /// Updated by the store; the callers that retry update the retries.
    pub struct StoreMetrics {
        /// 1 while Postgres answers and takes what it is given.
        up: IntGauge("sluice_db_up"),
        /// Batches and lookups tried again because Postgres did not take them.
        retries: IntCounter("sluice_db_retries_total"),
        /// 1 while changes of the registry are heard of by NOTIFY.
        listening: IntGauge("sluice_db_listening"),
        /// Batches that went through the staging table because they might hold repeated messages.
        staged_batches: IntCounter("sluice_staged_batches_total"),
        /// Rows Postgres refused for what they hold.
        poisoned_rows: IntCounter("sluice_poisoned_rows_total"),
        /// Seconds by which this machine's clock is ahead of Postgres'; negative: behind.
        clock_offset: Gauge("sluice_clock_offset_seconds"),
        /// Partitions of telemetry that stand ready for days to come.
        partitions_ahead: IntGauge("sluice_partitions_ahead"),
        /// 1 while nothing past its retention is deleted: the clocks differ, or a round would
        /// advance by many days at once.
        retention_held: IntGauge("sluice_retention_held"),
    }
}
