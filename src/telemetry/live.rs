//! Metrics of the live tail.

use super::declare::metrics;

metrics! {
    /// Updated by the spine and by the streams of the live tail.
    pub struct LiveMetrics {
        /// Open streams of decisions.
        listeners: IntGauge("sluice_live_listeners"),
        /// Lines of decisions that were formatted for streams and lists; none while nobody listens.
        formatted: IntCounter("sluice_live_lines_formatted_total"),
        /// Lines of decisions that were sent to streams.
        sent: IntCounter("sluice_live_lines_sent_total"),
        /// Lines of decisions that were dropped because the reader of a stream was too slow.
        dropped: IntCounter("sluice_live_lines_dropped_total"),
        /// Streams of decisions that were refused because all places were taken.
        refused: IntCounter("sluice_live_listeners_refused_total"),
    }
}
