//! The publisher of commands and documents: it brings the broker to what Postgres says.
//!
//! One replica at a time is the publisher, by the lock of its connection; the others wait. Each turn
//! reads what is due by its status, publishes it in order and records what the broker accepted. A
//! crash between the two publishes again, with the same id. It refuses nothing and decides nothing
//! about a device: it publishes what the rows say, and its rows are also written by plain SQL.
//!
//! 1. [`turn`]: one turn, and the state that lives as long as the lock.
//! 2. [`command_lane`] and [`push_lane`]: the two kinds of rows.
//! 3. [`delivery`]: a bounded number of messages under way.
//! 4. [`messages`]: the bytes.
//! 5. [`marker`]: what a broker has lost.
//! 6. [`refusals`]: what the broker refused a moment ago.

mod command_lane;
mod delivery;
mod marker;
mod messages;
mod push_lane;
mod refusals;
mod turn;

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::delivery::FRESH;
use self::marker::BrokerView;
use self::turn::{NextTurn, OutboxTurn};
use crate::broker::exchange::Exchange;
use crate::config::sections::downlink::DownlinkConfig;
use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::connection::database::Database;
use crate::store::downlink::outbox::OutboxSession;
use crate::store::downlink::outbox_signal::OutboxSignal;
use crate::telemetry::downlink::DownlinkMetrics;

/// Time between two looks without a notification, and between two attempts to become the publisher.
const PERIOD: Duration = Duration::from_secs(1);

/// Time between two attempts to listen for notifications.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// Pauses after an outage of Postgres.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The component of log and warnings.
const COMPONENT: &str = "outbox";

const HEALTH: HealthTexts = HealthTexts {
    failed: "Sluice cannot read or write the outbox",
    action: "commands and documents wait; retrying",
    recovered: "Sluice reads and writes the outbox again",
};

/// The publisher, or a standby.
pub struct OutboxPublisher {
    config: DownlinkConfig,
    database: Database,
    exchange: Exchange,
    metrics: DownlinkMetrics,
    readiness: Readiness,
    health: HealthReporter,
    /// Whether the log says that this replica is the publisher.
    is_announced: bool,
}

// === impl OutboxPublisher ===

impl OutboxPublisher {
    /// Publishes through `exchange`.
    pub fn new(
        config: DownlinkConfig,
        database: Database,
        exchange: Exchange,
        metrics: DownlinkMetrics,
        readiness: Readiness,
    ) -> Self {
        let health = HealthReporter::log_only(COMPONENT, HEALTH);
        Self { config, database, exchange, metrics, readiness, health, is_announced: false }
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.serve(&mut backoff) => ended,
            };
            self.metrics.publisher.set(0);
            if let Err(Outage(why)) = ended {
                self.health.failed(&why, Instant::now().into_std());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(backoff.next_pause()) => {}
            }
        }
    }

    /// Serves one connection to Postgres, first as a standby and then as the publisher. An error
    /// ends it, and with it the lock.
    async fn serve(&mut self, backoff: &mut Backoff) -> Result<(), Outage> {
        let mut session = OutboxSession::open(&self.database).await?;
        let mut view = BrokerView::default();
        let state = self.exchange.state();
        let mut is_successor = false;
        while !session.claim().await? {
            is_successor = true;
            // The clock is read after the state, so that the time is not before the connection.
            let seen = state.borrow().clone();
            view.note(&seen, session.now().await?);
            self.report_standby(backoff);
            sleep(PERIOD).await;
        }
        self.metrics.publisher.set(1);
        // Once: a connection to Postgres that breaks again and again would fill the log.
        if !std::mem::replace(&mut self.is_announced, true) {
            tracing::info!("this replica publishes the commands and documents");
        }
        if is_successor {
            // The publisher before may have queued messages; by then they are out or dropped.
            sleep(FRESH).await;
        }
        let mut turn = OutboxTurn::new(&self.config, self.exchange.clone(), &self.metrics, view);
        let mut signal = None;
        let mut listen_at = Instant::now();
        loop {
            if signal.is_none() && Instant::now() >= listen_at {
                signal = OutboxSignal::listen(&self.database).await.ok();
                listen_at = Instant::now() + LISTEN_PAUSE;
            }
            let end = turn.run(&mut session).await?;
            backoff.reset();
            self.health.worked(Instant::now().into_std());
            self.readiness.warn(COMPONENT, turn.complaint());
            if !self.wait(end, &mut signal).await {
                signal = None;
            }
        }
    }

    /// Waits for the next turn; returns whether the connection that listens still works.
    async fn wait(&self, end: NextTurn, signal: &mut Option<OutboxSignal>) -> bool {
        let mut state = self.exchange.state();
        state.mark_unchanged();
        let next = match end {
            NextTurn::Idle => Instant::now() + PERIOD,
            NextTurn::MoreAt(at) => at,
        };
        let notified = async {
            match signal {
                Some(signal) => signal.notified().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep_until(next) => true,
            Ok(()) = state.changed() => true,
            works = notified => works,
        }
    }

    fn report_standby(&mut self, backoff: &mut Backoff) {
        backoff.reset();
        self.health.worked(Instant::now().into_std());
        self.readiness.warn(COMPONENT, None);
        self.metrics.dirty.set(0);
        self.metrics.oldest_seconds.set(0.0);
        self.metrics.commands.reset();
    }
}
