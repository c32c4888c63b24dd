//! Starts the exchange: the connection on which Sluice receives requests and publishes to devices.
//!
//! It connects queues and decides nothing.

use tokio::sync::mpsc;

use super::Daemon;
use crate::broker::exchange::connection::ExchangeConnection;
use crate::broker::exchange::needed_writes::{self, NeededWrite};
use crate::broker::exchange::request_queue::REQUEST_QUEUE;
use crate::broker::exchange::subscriptions::ExchangeSubscriptions;
use crate::broker::exchange::{Exchange, exchange};
use crate::clock;
use crate::domain::device_topics;
use crate::lifecycle::Tasks;

// === impl Daemon ===

impl Daemon {
    /// Starts the exchange and those that use it. It connects at once if an API is enabled, else with
    /// the first message.
    pub(super) fn start_exchange(&self, tasks: &mut Tasks) -> Exchange {
        let (handle, ends) = exchange();
        let (requests_in, requests) = mpsc::channel(REQUEST_QUEUE);
        let connection = ExchangeConnection::new(
            &self.config.broker,
            self.exchange_subscriptions(),
            ends,
            requests_in,
            self.metrics.exchange.clone(),
            self.readiness.clone(),
            clock::now,
        );
        tasks.spawn("exchange", connection.run(self.stop.clone()));
        self.start_outbox(tasks, handle.clone());
        self.start_mqtt_api(tasks, handle.clone(), requests);
        handle
    }

    fn exchange_subscriptions(&self) -> ExchangeSubscriptions {
        let responses = self.config.mqtt_api.operators.response_filters();
        let mut writes = needed_writes::to_devices();
        writes.extend(responses.iter().map(|filter| NeededWrite::untried(filter)));
        ExchangeSubscriptions {
            requests: self.request_filters(),
            marker: Some(device_topics::marker()),
            writes,
        }
    }
}
