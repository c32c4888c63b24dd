//! Notices when the in-flight window binds: the broker then waits for acknowledgements. It holds nothing back itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::broker::BrokerMetrics;

/// How often, at most, the log says that the window binds.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The window of one connection.
#[derive(Debug)]
pub struct InflightWindow {
    receive_maximum: u16,
    is_full: bool,
    warned: Option<Instant>,
}

// === impl Window ===

impl InflightWindow {
    /// A window of this size, empty.
    pub fn new(receive_maximum: u16) -> Self {
        Self { receive_maximum, is_full: false, warned: None }
    }

    /// So many messages are to be acknowledged now.
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
                    "the in-flight window is full: MQTT_RECEIVE_MAXIMUM binds, the broker waits for acknowledgements; \
                     raise it, or look why Postgres is slow"
                );
            }
        }
        self.is_full = is_full;
    }
}
