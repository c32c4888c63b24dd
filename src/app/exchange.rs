//! Starts the exchange: the connection on which Sluice receives requests and publishes to devices.
//!
//! It connects queues and decides nothing.

use tokio::sync::mpsc;

use super::Daemon;
use crate::broker::exchange::connection::ExchangeConnection;
use crate::broker::exchange::request_queue::REQUEST_QUEUE;
use crate::broker::exchange::subscriptions::ExchangeSubscriptions;
use crate::broker::exchange::{Exchange, exchange, needed_writes};
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
        ExchangeSubscriptions {
            requests: self.request_filters(),
            marker: Some(device_topics::marker()),
            writes: needed_writes::of(&self.config.mqtt_api),
        }
    }
}
