//! Metrics of Postgres.

use super::declare::metrics;

/// Buckets in seconds, from a device that is connected to one that sleeps for hours.
const ANSWER_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0, 86_400.0];

metrics! {
    /// Updated by the store; the callers that retry update the retries.
    pub struct StoreMetrics {
        /// 1 while Postgres answers and accepts writes.
        up: IntGauge("sluice_db_up"),
        /// Retries of batches and lookups that failed at Postgres.
        retries: IntCounter("sluice_db_retries_total"),
        /// 1 while Sluice receives registry changes by NOTIFY.
        listening: IntGauge("sluice_db_listening"),
        /// Batches written through the staging table because they might contain repeated messages.
        staged_batches: IntCounter("sluice_staged_batches_total"),
        /// Rows that Postgres refused because of their content.
        poisoned_rows: IntCounter("sluice_poisoned_rows_total"),
        /// Seconds by which this machine's clock is ahead of that of Postgres; negative when behind.
        clock_offset: Gauge("sluice_clock_offset_seconds"),
        /// Telemetry partitions that exist for future days.
        partitions_ahead: IntGauge("sluice_partitions_ahead"),
        /// 1 while data past its retention is not deleted, because the clocks differ or a round would
        /// delete many days at once.
        retention_held: IntGauge("sluice_retention_held"),
        /// Certificates whose rows were deleted, because the retention of certificates passed since their end.
        certificates_deleted: IntCounter("sluice_certificates_deleted_total"),
        /// 1 for the engine of the database (plain, citus, timescale) and its version.
        engine: IntGaugeVec("sluice_store_engine", ["engine", "version"]),
        /// Seconds from a command's creation to the final acknowledgement of its device.
        command_answer_seconds: Histogram("sluice_command_answer_seconds", ANSWER_SECONDS),
    }
}
