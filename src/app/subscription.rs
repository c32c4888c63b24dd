//! Prepares the database and starts the session with the broker.
//!
//! The session subscribes within a second, with or without Postgres: a broker that has no session of
//! this client drops what it would otherwise keep.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::{DISCONNECT_RESERVE, Daemon};
use crate::broker::session::BrokerSession;
use crate::broker::session::subscription::SubscriptionMemory;
use crate::clock;
use crate::domain::broker_subscription::SessionMemory;
use crate::domain::message::{AckToken, Delivery};
use crate::domain::shard::Shard;
use crate::domain::time::Clock;
use crate::ingest::authorize::rate_limit::Absence;
use crate::lifecycle::Tasks;
use crate::store::access::broker_sessions;
use crate::store::layout::shards;
use crate::store::schema::migrate::SchemaError;

/// Chunks of messages between the broker and the spine; one chunk is the result of one read of the
/// socket.
pub(super) const DELIVERIES_QUEUE: usize = 64;

/// Lists of acknowledgements between the writer and the broker.
pub(super) const ACKS_QUEUE: usize = 64;

/// If Postgres does not answer within this time, the session subscribes without it. Otherwise the
/// broker would acknowledge messages for a session that does not exist yet, and drop them.
const SUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Ends of the session's queues that the spine uses, and the persisted state of the subscription.
pub(super) struct Subscription {
    pub deliveries: mpsc::Receiver<Vec<Delivery>>,
    pub acks: mpsc::Sender<Vec<AckToken>>,
    pub sessions: watch::Receiver<SessionMemory>,
    /// Set when the session subscribed before the persisted state was read: the time during which
    /// no daemon read messages.
    pub absence: Option<Absence>,
    /// The shards of telemetry, where it is distributed.
    pub shards: Vec<Shard>,
}

/// What the database says before the first message is stored.
struct Prepared {
    session: SessionMemory,
    shards: Vec<Shard>,
}

// === impl Daemon ===

impl Daemon {
    /// Retries until the schema fits and the persisted session is read. `None` means that `stop`
    /// was cancelled.
    async fn prepare(&self) -> Result<Option<Prepared>, SchemaError> {
        let mut retry = self.retry("schema", &self.stop);
        loop {
            let checked = tokio::select! {
                () = self.stop_is_due() => return Ok(None),
                checked = self.check_schema_and_recall() => checked,
            };
            match checked {
                Ok(prepared) => {
                    retry.reset();
                    return Ok(Some(prepared));
                }
                Err(SchemaError::Outage(outage)) => {
                    if !retry.pause(&outage).await {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Resolves when `stop` is cancelled and only the time for the disconnect remains.
    async fn stop_is_due(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(self.config.process.shutdown_timeout.saturating_sub(DISCONNECT_RESERVE))
            .await;
    }

    /// Prepares and subscribes: with the persisted session, or without it if Postgres does not
    /// answer within `SUBSCRIBE_AFTER`.
    pub(super) async fn prepare_and_subscribe(
        &self,
        tasks: &mut Tasks,
    ) -> Result<Option<Subscription>, SchemaError> {
        let (sessions_in, sessions) = watch::channel(SessionMemory::default());
        let mut preparing = std::pin::pin!(self.prepare());
        if let Ok(prepared) = tokio::time::timeout(SUBSCRIBE_AFTER, &mut preparing).await {
            let Some(Prepared { session, shards }) = prepared? else { return Ok(None) };
            let memory = SubscriptionMemory::new(session, sessions_in);
            let subscription = self.start_session(tasks, memory, sessions);
            return Ok(Some(Subscription { shards, ..subscription }));
        }
        tracing::warn!(
            "Postgres has not answered yet: subscribing without the persisted session; the broker \
             keeps the messages until Postgres answers"
        );
        let (recall, recalled) = oneshot::channel();
        let subscription = self.start_session(
            tasks,
            SubscriptionMemory::unrecalled(recalled, sessions_in),
            sessions,
        );
        let Some(Prepared { session, shards }) = preparing.await? else { return Ok(None) };
        let until = clock::now();
        let absence = session.subscribed.as_ref().map(|last| Absence { since: last.at, until });
        // If the session has ended, its own task reports that.
        let _ended = recall.send(session);
        Ok(Some(Subscription { absence, shards, ..subscription }))
    }

    /// Starts the session with the broker. Until the spine starts, messages wait in its queue, then
    /// at the broker.
    fn start_session(
        &self,
        tasks: &mut Tasks,
        memory: SubscriptionMemory,
        sessions: watch::Receiver<SessionMemory>,
    ) -> Subscription {
        let (deliveries_in, deliveries) = mpsc::channel(DELIVERIES_QUEUE);
        let (acks_in, acks) = mpsc::channel(ACKS_QUEUE);
        let (broker, metrics) = (self.config.broker.clone(), self.metrics.broker.clone());
        let time = (self.config.ingest.flush_interval, clock::now as Clock);
        let session = BrokerSession::new(
            broker,
            time,
            metrics,
            self.readiness.clone(),
            memory,
            deliveries_in,
            acks,
        )
        .draining(self.api.drain.clone());
        tasks
            .spawn("session", session.run(self.stop.clone(), self.config.process.shutdown_timeout));
        Subscription { deliveries, acks: acks_in, sessions, absence: None, shards: Vec::new() }
    }

    async fn check_schema_and_recall(&self) -> Result<Prepared, SchemaError> {
        if self.config.database.migrate_on_start {
            log_migrations(&self.database.migrate().await?);
        } else {
            self.database.schema_state().await?.check()?;
        }
        self.database.read_engine().await?;
        let shards = shards::read(&self.database).await?;
        let (pool, broker) = (self.database.pool(), &self.config.broker);
        let session = broker_sessions::recall(pool, &broker.client_id, &broker.filter()).await?;
        Ok(Prepared { session, shards })
    }
}

// --- private helpers ---

fn log_migrations(applied: &[i64]) {
    if !applied.is_empty() {
        tracing::info!(migrations = ?applied, "migrations applied; the schema is up to date");
    }
}
