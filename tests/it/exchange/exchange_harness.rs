//! An exchange at work, with the handle and the requests in the test's hands.

use std::process::Command;
use std::time::Duration;

use sluice::broker::exchange::connection::{COMPONENT, ExchangeConnection};
use sluice::broker::exchange::needed_writes::{self, NeededWrite};
use sluice::broker::exchange::subscriptions::ExchangeSubscriptions;
use sluice::broker::exchange::{Exchange, ExchangeState, exchange};
use sluice::config::sections::broker::BrokerConfig;
use sluice::domain::device_topics;
use sluice::domain::exchange::{ExchangeOutcome, OutgoingMessage, PublishTopic, RequestMessage};
use sluice::domain::time::Clock;
use sluice::lifecycle::Readiness;
use sluice::telemetry::metrics::Metrics;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::process::{find_program, run_to_end};
use crate::support::wait;

/// Generous: on a loaded machine a slow test is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running exchange.
pub struct ExchangeHarness {
    runtime: Runtime,
    task: JoinHandle<()>,
    stop: CancellationToken,
    pub handle: Option<Exchange>,
    pub requests: mpsc::Receiver<RequestMessage>,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// The requests of devices, the marker, and each write that the API of devices needs.
pub fn of_devices() -> ExchangeSubscriptions {
    let required = |write| NeededWrite { is_required: true, ..write };
    ExchangeSubscriptions {
        requests: vec![device_topics::ALL_REQUESTS.to_owned()],
        marker: Some(device_topics::marker()),
        writes: needed_writes::to_devices().into_iter().map(required).collect(),
    }
}

/// The same without an API.
pub fn idle() -> ExchangeSubscriptions {
    ExchangeSubscriptions {
        requests: Vec::new(),
        marker: Some(device_topics::marker()),
        writes: needed_writes::to_devices(),
    }
}

pub fn topic(text: &str) -> PublishTopic {
    PublishTopic::new(text).unwrap()
}

pub fn message(to: &str, payload: &str) -> OutgoingMessage {
    OutgoingMessage::json(topic(to), payload.to_owned())
}

/// Publishes with Mosquitto's own client.
pub fn mosquitto_pub(port: u16, arguments: &[&str]) {
    let program = find_program("mosquitto_pub").expect("mosquitto-clients is installed");
    let port = port.to_string();
    let mut command = Command::new(program);
    run_to_end(command.args(["-V", "5", "-p", &port]).args(arguments));
}

// === impl ExchangeHarness ===

impl ExchangeHarness {
    pub fn start(config: &BrokerConfig, subscriptions: ExchangeSubscriptions) -> Self {
        Self::with_queue(config, subscriptions, 1000)
    }

    /// With a queue of this many requests.
    pub fn with_queue(
        config: &BrokerConfig,
        subscriptions: ExchangeSubscriptions,
        queue: usize,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (metrics, readiness, stop) =
            (Metrics::new().unwrap(), Readiness::default(), CancellationToken::new());
        let (handle, ends) = exchange();
        let (requests_in, requests) = mpsc::channel(queue);
        let clock: Clock = sluice::clock::now;
        let connection = ExchangeConnection::new(
            config,
            subscriptions,
            ends,
            requests_in,
            metrics.exchange.clone(),
            readiness.clone(),
            clock,
        );
        let task = runtime.spawn(connection.run(stop.clone()));
        Self { runtime, task, stop, handle: Some(handle), requests, metrics, readiness }
    }

    /// The same, and waits until the broker has granted everything.
    pub fn start_well(config: &BrokerConfig, subscriptions: ExchangeSubscriptions) -> Self {
        let exchange = Self::start(config, subscriptions);
        exchange.wait_until_well();
        exchange
    }

    pub fn wait_until_well(&self) {
        wait::for_ok("the exchange works", || match (self.trouble(), self.is_connected()) {
            (None, true) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(self.metrics.exchange.connection.connected.get(), 1);
    }

    /// Waits until readiness says something with these words.
    pub fn wait_for_trouble(&self, words: &[&str]) -> String {
        wait::for_ok("readiness says what is wrong", || {
            let text = self.trouble().unwrap_or_default();
            if words.iter().all(|word| text.contains(word)) { Ok(text) } else { Err(text) }
        })
    }

    pub fn trouble(&self) -> Option<String> {
        self.readiness.troubles().get(COMPONENT).cloned()
    }

    pub fn state(&self) -> ExchangeState {
        self.handle().state().borrow().clone()
    }

    pub fn is_connected(&self) -> bool {
        self.state() != ExchangeState::Disconnected
    }

    pub fn reconnects(&self) -> u64 {
        self.metrics.exchange.connection.reconnects.get()
    }

    /// Publishes, and waits for the outcome.
    pub fn publish(&self, message: OutgoingMessage) -> ExchangeOutcome {
        let outcome = self.send(message);
        self.outcome(outcome)
    }

    pub fn send(&self, message: OutgoingMessage) -> oneshot::Receiver<ExchangeOutcome> {
        self.runtime.block_on(self.handle().send(message))
    }

    pub fn outcome(&self, outcome: oneshot::Receiver<ExchangeOutcome>) -> ExchangeOutcome {
        let answer = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, outcome).await });
        answer.expect("an outcome in time").unwrap_or(ExchangeOutcome::Unknown)
    }

    /// The next request.
    pub fn next(&mut self) -> RequestMessage {
        let requests = &mut self.requests;
        let next =
            self.runtime.block_on(async { tokio::time::timeout(DEADLINE, requests.recv()).await });
        next.expect("a request came in time").expect("the exchange runs")
    }

    /// Cancels `stop` and gives the handle back, as a daemon does; waits for the end.
    pub fn end(mut self) {
        self.stop.cancel();
        self.handle = None;
        let task = self.task;
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, task).await })
            .expect("it ended in time")
            .unwrap();
    }

    fn handle(&self) -> &Exchange {
        self.handle.as_ref().expect("the exchange runs")
    }
}
