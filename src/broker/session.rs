//! One MQTT session over many connections: connects, serves the connection, and reconnects when it
//! ends.
//!
//! Only `stop` ends it. It keeps no message and no acknowledgement from one connection to the next.
//!
//! [`context`] is what all connections share. [`connection`] is the loop of one of them:
//! [`receive_buffer`] is what it received, [`write_buffer`] what it writes, [`timers`] when it
//! acts. [`inflight`], [`window`] and [`read_pacing`] limit it; [`acks`] brings acknowledgements
//! back. [`subscription`], [`backlog`] and [`resumed_identifiers`] compare with earlier
//! connections. `leaving` ends a connection on purpose, and the session with a drain.

pub(crate) mod acks;
pub(crate) mod backlog;
pub(crate) mod connection;
pub mod context;
pub(crate) mod inflight;
mod leaving;
pub(crate) mod read_pacing;
pub(crate) mod receive_buffer;
pub(crate) mod resumed_identifiers;
pub mod subscription;
pub(crate) mod timers;
pub(crate) mod window;
pub(crate) mod write_buffer;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::BrokerError;
use super::login::BrokerCredentials;
use super::setting_names::SettingNames;
use super::transport::mqtt_stream::MqttStream;
use super::transport::outgoing;
use crate::config::sections::broker::BrokerConfig;
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::draining::{DrainDesk, DrainPhase};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::broker::BrokerMetrics;
use connection::{Connection, LastingState};
use context::{COMPONENT, ConnectedSession, SessionContext};
use inflight::Inflight;
use read_pacing::ReadPacing;
use resumed_identifiers::ResumedIdentifiers;
use subscription::SubscriptionMemory;

/// Pauses between two connections grow from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// After a connection that lasted this long, the pauses begin with the first again.
const STABLE: Duration = Duration::from_mins(1);

/// The sentences of the session's health.
const HEALTH: HealthTexts = HealthTexts {
    failed: "the broker session failed",
    action: "retrying",
    recovered: "the broker session works again",
};

/// The session with the broker.
pub struct BrokerSession {
    context: SessionContext,
    memory: SubscriptionMemory,
    deliveries: mpsc::Sender<Vec<Delivery>>,
    acks: mpsc::Receiver<Vec<AckToken>>,
}

// === impl BrokerSession ===

impl BrokerSession {
    /// Sends messages to `deliveries`, where they wait for a batch for at most `linger`, and takes
    /// acknowledgements from `acks`. `memory` holds the state that earlier runs left.
    pub fn new(
        config: BrokerConfig,
        (linger, clock): (Duration, Clock),
        metrics: BrokerMetrics,
        readiness: Readiness,
        memory: SubscriptionMemory,
        deliveries: mpsc::Sender<Vec<Delivery>>,
        acks: mpsc::Receiver<Vec<AckToken>>,
    ) -> Self {
        readiness.unwell(COMPONENT, "not connected to the broker yet");
        let pacing = ReadPacing::new(linger);
        Self {
            context: SessionContext {
                config,
                metrics,
                readiness,
                clock,
                pacing,
                drain: DrainDesk::default(),
                is_adopting: false,
            },
            memory,
            deliveries,
            acks,
        }
    }

    /// The session that leaves its share group when `desk` says so.
    #[must_use]
    pub fn draining(mut self, desk: DrainDesk) -> Self {
        self.context.drain = desk;
        self
    }

    /// The session of another replica, which is only drained. The first failure gives it up: the other
    /// replica may be back.
    #[must_use]
    pub fn adopting(mut self, desk: DrainDesk) -> Self {
        self.context.is_adopting = true;
        self.draining(desk)
    }

    /// Runs until `stop`. Then it closes `deliveries` and writes acknowledgements until `acks` is
    /// closed, for at most `patience`.
    pub async fn run(self, stop: CancellationToken, patience: Duration) {
        let Self { context, mut memory, deliveries, mut acks } = self;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut health = HealthReporter::new(COMPONENT, context.readiness.clone(), HEALTH);
        let (mut inflight, mut resumed) = (Inflight::default(), ResumedIdentifiers::default());
        let mut connects = 0;
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                opened = open(&context.config, &mut resumed) => opened,
                () = drop_acks(&mut acks, &context.metrics) => break,
            };
            let began = Instant::now();
            let error = match opened {
                Err(error) => error,
                Ok(connected) => {
                    connects += 1;
                    let lasting = LastingState {
                        memory: &mut memory,
                        acks: &mut acks,
                        inflight: &mut inflight,
                        resumed: &mut resumed,
                        health: &mut health,
                    };
                    let mut connection = start_connection(&context, connects, connected, lasting);
                    let Err(error) = connection.run(&deliveries, &stop).await else {
                        if connection.is_empty() {
                            connection.end_session().await;
                            return end_drained(&context, deliveries, acks, stop, patience).await;
                        }
                        let state = "stopping: Sluice reads no further messages";
                        context.readiness.unwell(COMPONENT, state);
                        drop(deliveries);
                        return connection.wind_down(patience).await;
                    };
                    error
                }
            };
            if context.is_adopting {
                context.drain.give_up(&adoption_fault(&error));
                break;
            }
            if matches!(error, BrokerError::LoginAges) {
                tracing::info!("{error}");
                continue;
            }
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let wait = backoff.next_pause().max(error.pause());
            health.failed(&error.to_string(), Instant::now().into_std());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
                () = drop_acks(&mut acks, &context.metrics) => break,
            }
        }
        drop(deliveries);
        let _late_ones_are_void =
            timeout(patience, drop_acks_to_the_end(&mut acks, &context.metrics)).await;
    }
}

// --- private helpers ---

async fn open(
    config: &BrokerConfig,
    resumed: &mut ResumedIdentifiers,
) -> Result<ConnectedSession, BrokerError> {
    let login = BrokerCredentials::for_connection(config, &SettingNames::Daemon).await?;
    let connect = outgoing::session_connect(config, &login)?;
    let mut link = MqttStream::open(config).await?;
    let mut incoming = Vec::new();
    resumed.connecting();
    let connack = link.send_connect(&connect, &mut incoming).await?;
    Ok(ConnectedSession { link, connack, incoming, renewal: login.renewal() })
}

/// Begins connection number `connects`: records its CONNACK, and forgets the packet identifiers of
/// a session that the broker did not resume.
fn start_connection<'a>(
    context: &'a SessionContext,
    connects: u64,
    connected: ConnectedSession,
    lasting: LastingState<'a>,
) -> Connection<'a> {
    lasting.memory.record_connack(context, connects, &connected.connack);
    if !connected.connack.session_present {
        lasting.resumed.forget();
    }
    Connection::new(context, ConnectionId(connects), connected, lasting)
}

/// The session at the broker has ended: waits for the end of the daemon.
async fn end_drained(
    context: &SessionContext,
    deliveries: mpsc::Sender<Vec<Delivery>>,
    mut acks: mpsc::Receiver<Vec<AckToken>>,
    stop: CancellationToken,
    patience: Duration,
) {
    context.readiness.unwell(COMPONENT, "drained: the session at the broker has ended");
    context.drain.reach(DrainPhase::SessionEnded);
    leaving::wait_for_stop(deliveries, &mut acks, stop.cancelled()).await;
    let _late_ones_are_void =
        timeout(patience, drop_acks_to_the_end(&mut acks, &context.metrics)).await;
}

fn adoption_fault(error: &BrokerError) -> String {
    match error {
        _ if error.is_takeover() => {
            "the replica is back: it has taken over its session, with all that is not stored".into()
        }
        BrokerError::Closed => {
            "the broker closed the connection without a reason; if the replica is back, it has taken over its session, with all \
             that is not stored; otherwise run the command again"
                .into()
        }
        error => error.to_string(),
    }
}

/// Without a connection, every acknowledgement is void. Never resolves, and never blocks the
/// writer.
async fn drop_acks(acks: &mut mpsc::Receiver<Vec<AckToken>>, metrics: &BrokerMetrics) {
    drop_acks_to_the_end(acks, metrics).await;
    std::future::pending::<()>().await;
}

async fn drop_acks_to_the_end(acks: &mut mpsc::Receiver<Vec<AckToken>>, metrics: &BrokerMetrics) {
    while let Some(tokens) = acks.recv().await {
        metrics.void_acks.inc_by(tokens.len() as u64);
    }
}
