//! One MQTT session over many connections: connects, works, and when that ends connects again, for ever.
//!
//! Nothing the broker does ends it, only `stop`. It keeps no message and no acknowledgement from one connection to the next.

pub mod acks;
pub mod backlog;
pub mod backoff;
pub mod connection;
pub mod inflight;
pub mod read_pacing;
pub mod resumed_identifiers;
pub mod subscription;
pub mod timers;
pub mod window;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::BrokerError;
use super::login::{BrokerCredentials, Renewal};
use super::transport::mqtt_stream::MqttStream;
use super::transport::outgoing;
use super::transport::packets::{ConnAck, Incoming};
use crate::clock;
use crate::config::sections::broker::BrokerConfig;
use crate::disk;
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::telemetry::broker::BrokerMetrics;
use backoff::Backoff;
use connection::Connection;
use inflight::Inflight;
use read_pacing::ReadPacing;
use resumed_identifiers::Returning;
use subscription::SubscriptionMemory;

/// The name of this part in readiness.
pub const PART: &str = "broker";

/// The same trouble is logged again after this long.
const REPEAT_LOG: Duration = Duration::from_mins(1);

/// The session with the broker.
pub struct BrokerSession {
    around: SessionContext,
    memory: SubscriptionMemory,
    deliveries: mpsc::Sender<Vec<Delivery>>,
    acks: mpsc::Receiver<Vec<AckToken>>,
}

/// What every connection of the session works with.
pub struct SessionContext {
    /// The settings.
    pub config: BrokerConfig,
    /// The numbers.
    pub metrics: BrokerMetrics,
    /// Where trouble is told.
    pub readiness: Readiness,
    /// The time.
    pub clock: Clock,
    /// How often the socket is read.
    pub pace: ReadPacing,
}

/// What is told about, and when it was told last.
#[derive(Default)]
struct LoggedOnce {
    text: String,
    at: Option<Instant>,
}

/// A connection that was welcomed, and what came right behind the welcome.
pub(super) struct ConnectedSession {
    pub(super) link: MqttStream,
    pub(super) welcome: ConnAck,
    pub(super) incoming: Vec<Incoming>,
    /// When the login must be replaced.
    pub(super) renewal: Option<Renewal>,
}

// === impl Session ===

impl BrokerSession {
    /// Messages go out by `deliveries`, where they wait for company no longer than `linger`; acknowledgements come back by
    /// `acks`; `memory` is of former runs.
    pub fn new(
        config: BrokerConfig,
        (linger, clock): (Duration, Clock),
        metrics: BrokerMetrics,
        readiness: Readiness,
        memory: SubscriptionMemory,
        deliveries: mpsc::Sender<Vec<Delivery>>,
        acks: mpsc::Receiver<Vec<AckToken>>,
    ) -> Self {
        readiness.unwell(PART, "not connected to the broker yet");
        let pace = ReadPacing::new(linger);
        Self { around: SessionContext { config, metrics, readiness, clock, pace }, memory, deliveries, acks }
    }

    /// Works until `stop`. Then it closes the queue, and acknowledges what is still committed until the other end of `acks`
    /// is gone, for at most `patience`.
    pub async fn run(self, stop: CancellationToken, patience: Duration) {
        let Self { around, mut memory, deliveries, mut acks } = self;
        let mut backoff = Backoff::default();
        let mut told = LoggedOnce::default();
        let (mut inflight, mut returning) = (Inflight::default(), Returning::default());
        let mut welcomes = 0;
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                opened = open(&around.config, &mut returning) => opened,
                () = drop_acks(&mut acks, &around.metrics) => break,
            };
            let began = Instant::now();
            let trouble = match opened {
                Err(trouble) => trouble,
                Ok(arrived) => {
                    welcomes += 1;
                    memory.welcomed(&around, welcomes, &arrived.welcome);
                    if !arrived.welcome.session_present {
                        returning.forget();
                    }
                    let id = ConnectionId(welcomes);
                    let counts = (&mut inflight, &mut returning);
                    let mut steady = Connection::new(&around, id, arrived, &mut memory, &mut acks, counts);
                    let Err(trouble) = steady.run(&deliveries, &stop).await else {
                        around.readiness.unwell(PART, "stopping: no more messages are taken");
                        drop(deliveries);
                        return steady.wind_down(patience).await;
                    };
                    if steady.was_subscribed() {
                        told = LoggedOnce::default();
                    }
                    trouble
                }
            };
            if matches!(trouble, BrokerError::LoginAges) {
                tracing::info!("{trouble}");
                continue;
            }
            let wait = backoff.next(began.elapsed()).max(trouble.pause());
            told.tell(&around.readiness, &trouble, wait);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
                () = drop_acks(&mut acks, &around.metrics) => break,
            }
        }
        drop(deliveries);
        let _late_ones_are_void = timeout(patience, drop_acks_to_the_end(&mut acks, &around.metrics)).await;
    }
}

// === impl Told ===

impl LoggedOnce {
    /// Readiness always knows; the log hears each trouble once, and again when it lasts.
    fn tell(&mut self, readiness: &Readiness, trouble: &BrokerError, wait: Duration) {
        let text = trouble.to_string();
        let again_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if text != self.text || self.at.is_none_or(|at| at.elapsed() >= REPEAT_LOG) {
            tracing::warn!(again_in_ms, "{text}");
            *self = Self { text: text.clone(), at: Some(Instant::now()) };
        }
        readiness.unwell(PART, text);
    }
}

// --- private helpers ---

async fn open(config: &BrokerConfig, returning: &mut Returning) -> Result<ConnectedSession, BrokerError> {
    let login = match config.jwt.as_ref().map(|jwt| jwt.key.clone()) {
        None => BrokerCredentials::fresh(config, clock::now())?,
        Some(key) => {
            let config = config.clone();
            disk::apart(&key, move || BrokerCredentials::fresh(&config, clock::now()))
                .await
                .map_err(BrokerError::Disk)??
        }
    };
    let connect = outgoing::session_connect(config, &login)?;
    let mut link = MqttStream::open(config).await?;
    let mut incoming = Vec::new();
    returning.connecting();
    let welcome = link.introduce(&connect, &mut incoming).await?;
    Ok(ConnectedSession { link, welcome, incoming, renewal: login.renewal() })
}

/// While there is no connection every acknowledgement is void. It never ends: the writer must not be held up.
async fn drop_acks(acks: &mut mpsc::Receiver<Vec<AckToken>>, metrics: &BrokerMetrics) {
    drop_acks_to_the_end(acks, metrics).await;
    std::future::pending::<()>().await;
}

async fn drop_acks_to_the_end(acks: &mut mpsc::Receiver<Vec<AckToken>>, metrics: &BrokerMetrics) {
    while let Some(tokens) = acks.recv().await {
        metrics.void_acks.inc_by(tokens.len() as u64);
    }
}
