//! Reports when the in-flight window is full, so that the broker waits for acknowledgements. It
//! limits nothing itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::broker::BrokerMetrics;

/// Minimum time between two warnings.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Window of one connection.
#[derive(Debug)]
pub struct InflightWindow {
    receive_maximum: u16,
    is_full: bool,
    warned: Option<Instant>,
}

// === impl InflightWindow ===

impl InflightWindow {
    /// An empty window of `receive_maximum` messages.
    pub fn new(receive_maximum: u16) -> Self {
        Self { receive_maximum, is_full: false, warned: None }
    }

    /// Records the number of unacknowledged messages.
    pub fn watch(&mut self, unacked: usize, metrics: &BrokerMetrics) {
        metrics.unacked.set(i64::try_from(unacked).unwrap_or(i64::MAX));
        let receive_maximum = self.receive_maximum;
        let is_full = unacked >= usize::from(receive_maximum);
        if is_full && !self.is_full {
            metrics.window_full.inc();
            if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                self.warned = Some(Instant::now());
                tracing::warn!(
                    receive_maximum,
                    "the in-flight window is full: the broker waits for acknowledgements; \
                     raise MQTT_RECEIVE_MAXIMUM, or find out why Postgres is slow"
                );
            }
        }
        self.is_full = is_full;
    }
}
