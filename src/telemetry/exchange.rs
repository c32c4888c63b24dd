//! Metrics of the exchange: the connection for requests and for messages to devices.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::declare::metrics;

/// The reason codes of refusals that have a series from the start.
const CODES: [u8; 2] = [0x87, 0x97];

metrics! {
    /// Updated by the connection.
    pub struct ExchangeConnectionMetrics {
        /// 1 while the connection for requests and messages to devices exists and the broker has
        /// granted its subscriptions.
        connected: IntGauge("sluice_api_connected"),
        /// Connections of the exchange after the first one.
        reconnects: IntCounter("sluice_api_reconnects_total"),
        /// Messages that wait to be published to devices and callers.
        outgoing_depth: IntGauge("sluice_api_outgoing_queue_depth"),
        /// Messages that are published to devices and callers and not yet acknowledged by the
        /// broker.
        unacked: IntGauge("sluice_api_unacked"),
        /// Requests that wait for a worker.
        request_depth: IntGauge("sluice_api_request_queue_depth"),
        /// Malformed packets on the connection of the exchange that Sluice skipped.
        malformed: IntCounter("sluice_api_malformed_packets_total"),
    }
}

/// Metrics of the exchange.
#[derive(Clone, Debug)]
pub struct ExchangeMetrics {
    /// Those without a label.
    pub connection: ExchangeConnectionMetrics,
    /// Requests that were dropped because too many waited.
    pub overflowed: IntCounter,
    refused: IntCounterVec,
}

// === impl ExchangeMetrics ===

impl ExchangeMetrics {
    /// Creates and registers them; each known label starts at zero. Requests that find the queue
    /// full are counted in `overflowed`.
    pub fn new(registry: &Registry, overflowed: IntCounter) -> Result<Self, prometheus::Error> {
        let help = "Messages to devices and callers that the broker refused, by its reason code.";
        let refused =
            IntCounterVec::new(Opts::new("sluice_pushes_refused_total", help), &["code"])?;
        registry.register(Box::new(refused.clone()))?;
        for code in CODES {
            refused.with_label_values(&[&shown(code)]);
        }
        let connection = ExchangeConnectionMetrics::register(registry)?;
        Ok(Self { connection, overflowed, refused })
    }

    /// Counts a message that the broker refused with this reason code.
    pub fn count_refused(&self, code: u8) {
        self.refused.with_label_values(&[&shown(code)]).inc();
    }
}

// --- private helpers ---

fn shown(code: u8) -> String {
    format!("0x{code:02X}")
}
