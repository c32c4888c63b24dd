//! The exchange's task: connects, serves the connection, and reconnects when it ends.
//!
//! Only `stop` ends it. Without subscriptions to requests it connects when a handle has a message:
//! an installation that uses neither needs no second connection. It keeps no session at the broker.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::exchange_context::{ExchangeContext, ExchangeLasting, OpenExchange};
use super::refusals::Refusals;
use super::request_queue::RequestQueue;
use super::serving::Serving;
use super::subscriptions::ExchangeSubscriptions;
use super::{ExchangeEnds, ExchangeState};
use crate::broker::error::BrokerError;
use crate::broker::login::BrokerCredentials;
use crate::broker::setting_names::SettingNames;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing;
use crate::config::sections::broker::{BrokerConfig, EXCHANGE_SUFFIX};
use crate::domain::exchange::{ExchangeOutcome, RequestMessage};
use crate::domain::message::ConnectionId;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::exchange::ExchangeMetrics;

/// Name of the exchange's component in readiness.
pub const COMPONENT: &str = "api";

/// The exchange pings this often: a request is lost while a dead connection is not noticed.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Most requests that the broker may send before the first is acknowledged.
const RECEIVE_MAXIMUM: u16 = 1000;

/// The largest request that is kept whole.
const REQUEST_MAX: usize = 256 * 1024;

/// Pauses between two connections grow from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// After a connection that lasted this long, the pauses begin with the first again.
const STABLE: Duration = Duration::from_mins(1);

/// The sentences of the exchange's health.
const HEALTH: HealthTexts = HealthTexts {
    failed: "requests over MQTT and messages to devices are impaired",
    action: "retrying",
    recovered: "requests over MQTT and messages to devices work again",
};

/// The exchange's task.
pub struct ExchangeConnection {
    context: ExchangeContext,
    ends: ExchangeEnds,
    requests: RequestQueue,
}

// === impl ExchangeConnection ===

impl ExchangeConnection {
    /// Connects as `config` says, under a client id of its own. Requests go to `requests`.
    pub fn new(
        config: &BrokerConfig,
        subscriptions: ExchangeSubscriptions,
        ends: ExchangeEnds,
        requests: mpsc::Sender<RequestMessage>,
        metrics: ExchangeMetrics,
        readiness: Readiness,
        clock: Clock,
    ) -> Self {
        if !subscriptions.requests.is_empty() {
            readiness.unwell(COMPONENT, "the exchange is not connected to the broker yet");
        }
        let config = BrokerConfig {
            client_id: format!("{}{EXCHANGE_SUFFIX}", config.client_id),
            keepalive: KEEPALIVE,
            max_packet_bytes: config.max_packet_bytes.min(REQUEST_MAX),
            ..config.clone()
        };
        let context = ExchangeContext { config, subscriptions, metrics, readiness, clock };
        Self { context, ends, requests: RequestQueue::new(requests) }
    }

    /// Runs until `stop`. Then it publishes what is queued, and disconnects.
    pub async fn run(self, stop: CancellationToken) {
        let Self { context, mut ends, mut requests } = self;
        if !context.is_wanted(&mut ends, &stop).await {
            return;
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut health = HealthReporter::new(COMPONENT, context.readiness.clone(), HEALTH);
        let mut refusals = Refusals::new(context.config.username.clone());
        let mut connects = 0;
        loop {
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = context.open() => opened,
            };
            let began = Instant::now();
            let error = match opened {
                Err(error) => {
                    give_up_queued(&mut ends);
                    error
                }
                Ok(open) => {
                    connects += 1;
                    let lasting = ExchangeLasting {
                        ends: &mut ends,
                        requests: &mut requests,
                        refusals: &mut refusals,
                        health: &mut health,
                    };
                    match context.serve(connects, open, lasting, &stop).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
            };
            if matches!(error, BrokerError::LoginAges) {
                tracing::info!("exchange: {error}");
                continue;
            }
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let wait = backoff.next_pause().max(error.pause());
            health.failed(&error.to_string(), Instant::now().into_std());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }
}

// === impl ExchangeContext ===

impl ExchangeContext {
    /// Waits until there is something to do; false: `stop` came first.
    async fn is_wanted(&self, ends: &mut ExchangeEnds, stop: &CancellationToken) -> bool {
        if !self.subscriptions.requests.is_empty() {
            return true;
        }
        let is_wanted = tokio::select! {
            biased;
            () = stop.cancelled() => false,
            wanted = ends.wanted.wait_for(|&wanted| wanted) => wanted.is_ok(),
        };
        if !is_wanted {
            // Either `stop`, or every handle is gone and there will be no message.
            stop.cancelled().await;
        }
        is_wanted
    }

    async fn open(&self) -> Result<OpenExchange, BrokerError> {
        let login = BrokerCredentials::for_connection(&self.config, &SettingNames::Daemon).await?;
        let connect = outgoing::exchange_connect(&self.config, &login, RECEIVE_MAXIMUM)?;
        let mut link = MqttStream::open(&self.config).await?;
        let mut incoming = Vec::new();
        let connack = link.send_connect(&connect, &mut incoming).await?;
        Ok(OpenExchange { link, connack, incoming, renewal: login.renewal() })
    }

    /// Serves connection number `connects`; `Ok` after `stop`.
    async fn serve(
        &self,
        connects: u64,
        open: OpenExchange,
        lasting: ExchangeLasting<'_>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        if connects > 1 {
            self.metrics.connection.reconnects.inc();
        }
        lasting.refusals.forget();
        let mut serving = Serving::new(self, ConnectionId(connects), open, lasting);
        let ended = serving.run(stop).await;
        serving.show_disconnected();
        match ended {
            Ok(()) => {
                serving.wind_down().await;
                Ok(())
            }
            Err(error) => Err(serving.end_with(error).await),
        }
    }
}

// --- private helpers ---

/// Without a connection, what is queued is not sent: its sender decides whether to try again.
fn give_up_queued(ends: &mut ExchangeEnds) {
    ends.state.send_replace(ExchangeState::Disconnected);
    while let Ok(queued) = ends.outgoing.try_recv() {
        let _nobody_waits = queued.outcome.send(ExchangeOutcome::Unknown);
    }
}
