//! A session at work, with the two ends of its channels in the test's hands.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluice::broker::session::BrokerSession;
use sluice::broker::session::context::COMPONENT;
use sluice::broker::session::subscription::SubscriptionMemory;
use sluice::broker::tools::publisher::MqttPublisher;
use sluice::config::sections::broker::BrokerConfig;
use sluice::domain::broker_subscription::SessionMemory;
use sluice::domain::message::{AckToken, Delivery};
use sluice::lifecycle::Readiness;
use sluice::telemetry::metrics::Metrics;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::wait;

/// Generous: on a loaded machine a slow test is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// Settings for a broker on this port.
pub fn config(port: u16) -> BrokerConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    BrokerConfig {
        host: "127.0.0.1".into(),
        port,
        username: None,
        password: None,
        jwt: None,
        client_id: format!("sluice-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        topic: "tenant/+/device/+/#".into(),
        share_group: None,
        tls: None,
        keepalive: Duration::from_secs(30),
        session_expiry_seconds: 3600,
        receive_maximum: 100,
        max_packet_bytes: 1024 * 1024,
    }
}

/// A running session.
pub struct SessionHarness {
    runtime: Runtime,
    session: JoinHandle<()>,
    stop: CancellationToken,
    deliveries: Option<mpsc::Receiver<Vec<Delivery>>>,
    ready: Vec<Delivery>,
    acks: Option<mpsc::Sender<Vec<AckToken>>>,
    pub metrics: Metrics,
    pub readiness: Readiness,
    /// What the session would have remembered.
    pub remembered: watch::Receiver<SessionMemory>,
}

// === impl SessionHarness ===

impl SessionHarness {
    pub fn start(config: BrokerConfig) -> Self {
        Self::start_with(config, SessionMemory::default())
    }

    /// The same, with what an earlier run left.
    pub fn start_with(config: BrokerConfig, memory: SessionMemory) -> Self {
        Self::start_as(config, memory, |session| session)
    }

    /// The same, with a session of a certain kind.
    pub fn start_as(
        config: BrokerConfig,
        memory: SessionMemory,
        kind: impl FnOnce(BrokerSession) -> BrokerSession,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (metrics, readiness, stop) =
            (Metrics::new().unwrap(), Readiness::default(), CancellationToken::new());
        let (out, deliveries) = mpsc::channel(1);
        let (acks, back) = mpsc::channel(64);
        let clock: sluice::domain::time::Clock = sluice::clock::now;
        let (news, remembered) = watch::channel(SessionMemory::default());
        let memory = SubscriptionMemory::new(memory, news);
        let around = (Duration::from_millis(5), clock);
        let session = BrokerSession::new(
            config,
            around,
            metrics.broker.clone(),
            readiness.clone(),
            memory,
            out,
            back,
        );
        let session = runtime.spawn(kind(session).run(stop.clone(), DEADLINE));
        let (deliveries, acks) = (Some(deliveries), Some(acks));
        Self {
            runtime,
            session,
            stop,
            deliveries,
            ready: Vec::new(),
            acks,
            metrics,
            readiness,
            remembered,
        }
    }

    /// The same, and waits until it is subscribed.
    pub fn start_well(config: BrokerConfig) -> Self {
        let session = Self::start(config);
        session.wait_until_well();
        session
    }

    pub fn wait_until_well(&self) {
        wait::until("the session is subscribed", || self.readiness.troubles().is_empty());
        assert_eq!(self.metrics.broker.connected.get(), 1);
    }

    /// Waits until readiness says something with these words.
    pub fn wait_for_trouble(&self, words: &[&str]) {
        wait::for_ok("readiness says what is wrong", || {
            let text = self.readiness.troubles().get(COMPONENT).cloned().unwrap_or_default();
            if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
        });
    }

    /// The next message.
    pub fn next(&mut self) -> Delivery {
        while self.ready.is_empty() {
            let queue = self.deliveries.as_mut().expect("the queue is open");
            let lot =
                self.runtime.block_on(async { tokio::time::timeout(DEADLINE, queue.recv()).await });
            self.ready = lot.expect("a message came in time").expect("the session runs");
            self.metrics.broker.queue_depth.sub(i64::try_from(self.ready.len()).unwrap());
        }
        self.ready.remove(0)
    }

    /// The next `count` messages.
    pub fn take(&mut self, count: usize) -> Vec<Delivery> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Acknowledges one message.
    pub fn acknowledge(&self, delivery: Delivery) {
        self.acknowledge_all(vec![delivery]);
    }

    /// Acknowledges them as one batch.
    pub fn acknowledge_all(&self, deliveries: Vec<Delivery>) {
        let tokens = deliveries.into_iter().filter_map(|delivery| delivery.ack).collect();
        self.acks.as_ref().unwrap().blocking_send(tokens).unwrap();
    }

    /// Stops it: it reads nothing further, and waits for the pending acknowledgements.
    pub fn stop(&mut self) {
        self.stop.cancel();
        // The writer sees the end of the queue.
        let mut queue = self.deliveries.take().unwrap();
        self.runtime.block_on(async { while queue.recv().await.is_some() {} });
    }

    /// Ends the acknowledgements, and waits until the session has ended.
    pub fn finish(mut self) {
        self.acks = None;
        self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, self.session).await.unwrap().unwrap();
        });
    }

    /// Publishes at QoS 1 as another client and waits for the answers; how many were acknowledged.
    pub fn publish(&self, to: &BrokerConfig, messages: &[(String, Vec<u8>)]) -> u64 {
        self.runtime.block_on(async {
            let mut publisher = MqttPublisher::connect(to, 50).await.unwrap();
            for (topic, payload) in messages {
                publisher.publish(topic, payload.clone()).await.unwrap();
            }
            let tally = publisher.drain().await.unwrap();
            publisher.close().await.unwrap();
            tally.acknowledged
        })
    }
}

/// So many different messages.
pub fn numbered(count: usize) -> Vec<(String, Vec<u8>)> {
    let message =
        |number: usize| ("tenant/t/device/d/telemetry".to_owned(), number.to_string().into_bytes());
    (0..count).map(message).collect()
}
