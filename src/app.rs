//! The daemon on one screen: which components start, in which order, and how they end.
//!
//! Each component builds itself from its own settings; this file only connects them.

mod hooks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::access::policy::file::PolicyFileError;
use crate::broker::session::BrokerSession;
use crate::broker::session::acks::Acks;
use crate::broker::session::subscription::SubscriptionMemory;
use crate::clock;
use crate::config::Config;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::broker_subscription::SessionMemory;
use crate::domain::ids::DeviceKey;
use crate::domain::message::{AckToken, Delivery};
use crate::domain::time::Clock;
use crate::http::{self, Api, CachedGrantReader, PublicApi};
use crate::ingest::authorize::Authorizer;
use crate::ingest::authorize::rate_limit::Absence;
use crate::ingest::batching::{Gathering, Sizes};
use crate::ingest::grants::Grants;
use crate::ingest::grants::view::GrantView;
use crate::ingest::retry::Retry;
use crate::ingest::writer::Writer;
use crate::ingest::{Spine, SpineQueues};
use crate::lifecycle::{Ending, Readiness, Tasks};
use crate::registry::access_rules::writer::AclWriter;
use crate::registry::authority_watch::AuthorityWatch;
use crate::registry::certificates::upkeep::CertificateUpkeep;
use crate::registry::guests::Guests;
use crate::registry::revocation::broker_reload::Recheck;
use crate::registry::revocation::isolation::Isolation;
use crate::registry::revocation::publisher::CrlPublisher;
use crate::store::access::broker_sessions;
use crate::store::connection::database::{Database, OpenError};
use crate::store::connection::health_probe;
use crate::store::registry::change_feed;
use crate::store::registry::change_feed::ChangeSignal;
use crate::store::schema::migrate::SchemaError;
use crate::store::schema::partitions;
use crate::store::schema::retention::Retention;
use crate::telemetry::metrics::Metrics;

/// Chunks of messages between the broker and the spine; one chunk is the result of one read of the
/// socket.
const DELIVERIES_QUEUE: usize = 64;

/// Lists of acknowledgements between the writer and the broker.
const ACKS_QUEUE: usize = 64;

/// Registry changes between the listener and the spine. Beyond this, the listener drops everything
/// cached instead.
const CHANGES_QUEUE: usize = 1024;

/// If Postgres does not answer within this time, the session subscribes without it. Otherwise the
/// broker would acknowledge messages for a session that does not exist yet, and drop them.
const SUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Component of readiness that is unwell until all others have started.
const COMPONENT: &str = "start";

/// Part of `SHUTDOWN_TIMEOUT_SECONDS` that remains for the disconnect after giving up on Postgres.
const DISCONNECT_RESERVE: Duration = Duration::from_secs(3);

/// Upper bound for open HTTP responses at the end, and again for closing the Postgres connections.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the daemon did not start, or did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A database setting is invalid.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The schema does not fit this version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The address of a listener is not available.
    #[error(
        "cannot listen on {bind} ({setting}): {error}; free the address, or set {setting} to another"
    )]
    Bind {
        /// Setting that names the address.
        setting: &'static str,
        /// The address.
        bind: std::net::SocketAddr,
        /// Error of the bind.
        error: std::io::Error,
    },
    /// The policy file is invalid.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// Two metrics have one name: a defect of the program.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
    /// A task exited before `stop`.
    #[error("the task {0} ended unasked; the log above says why")]
    TaskDied(&'static str),
    /// Some tasks were still running at the timeout and were aborted.
    #[error(
        "not everything ended within SHUTDOWN_TIMEOUT_SECONDS; what was not stored stays with the broker"
    )]
    TimedOut,
}

/// Values that every component is built from.
struct Daemon {
    config: Config,
    metrics: Metrics,
    readiness: Readiness,
    database: Database,
    /// Cached registry answers: the spine fills the cache, the ops listener shows it.
    grants: Grants,
    /// Public credentials.
    guests: Guests,
    /// Notified when the registry may have changed.
    signal: ChangeSignal,
    /// Cancelled to stop reading new work.
    stop: CancellationToken,
    /// Cancelled to stop waiting for Postgres.
    abandon: CancellationToken,
}

/// Ends of the session's queues that the spine uses, and the persisted state of the subscription.
struct Subscription {
    deliveries: mpsc::Receiver<Vec<Delivery>>,
    acks: mpsc::Sender<Vec<AckToken>>,
    news: watch::Receiver<SessionMemory>,
    /// Set when the session subscribed before the persisted state was read: the time during which
    /// no daemon read messages.
    absence: Option<Absence>,
}

/// Runs the daemon until `stop` is cancelled.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let metrics = Metrics::new().map_err(|error| RunError::Metrics(error.to_string()))?;
    let database = Database::open(&config.database, metrics.store.clone())?;
    let (readiness, abandon) = (Readiness::default(), CancellationToken::new());
    // The ops listener answers before the other components can report.
    readiness.unwell(COMPONENT, "starting: the schema is being looked at");
    let grants = Grants::new(&config.ingest);
    let guests = Guests::new(database.clone(), config.public.max_guests, clock::now);
    let signal = ChangeSignal::default();
    let daemon =
        Daemon { config, metrics, readiness, database, grants, guests, signal, stop, abandon };

    let ops_stop = CancellationToken::new();
    let mut ops = daemon.start_ops(ops_stop.clone()).await?;
    daemon.start_api(&mut ops).await?;
    daemon.start_hooks(&mut ops).await?;
    daemon.start_public(&mut ops).await?;
    let ended = daemon.run(&mut ops).await;
    ops_stop.cancel();
    ops.finish(CLOSE_TIMEOUT).await;
    // A connection that a query without an answer holds never returns to the pool.
    if tokio::time::timeout(CLOSE_TIMEOUT, daemon.database.close()).await.is_err() {
        tracing::warn!("connections to Postgres did not close in time; they end with the process");
    }
    ended
}

// === impl Daemon ===

impl Daemon {
    async fn run(&self, ops: &mut Tasks) -> Result<(), RunError> {
        let mut tasks = Tasks::default();
        let subscription = match self.prepare_and_subscribe(&mut tasks).await {
            Ok(Some(subscription)) => subscription,
            not_subscribed => {
                self.stop.cancel();
                // Nothing was stored, so there is nothing to acknowledge: the session only
                // disconnects.
                tasks.finish(DISCONNECT_RESERVE).await;
                return not_subscribed.map(drop).map_err(RunError::from);
            }
        };
        self.start_maintenance(&mut tasks);
        self.start_spine(&mut tasks, subscription);
        self.readiness.well(COMPONENT);
        let ended_task = tokio::select! {
            ended_task = tasks.watch(&self.stop) => ended_task,
            ended_task = ops.watch(&self.stop) => ended_task,
        };
        self.stop.cancel();
        tracing::info!("stopping: no more messages are taken, what was taken is being stored");
        match (ended_task, self.wind_down(tasks).await) {
            (Some(name), _) => Err(RunError::TaskDied(name)),
            (None, Ending::TimedOut) => Err(RunError::TimedOut),
            (None, Ending::Done) => Ok(()),
        }
    }

    /// Starts liveness, readiness and metrics: first to start, last to stop.
    async fn start_ops(&self, stop: CancellationToken) -> Result<Tasks, RunError> {
        let (setting, bind) = ("OPS_BIND", self.config.http.ops_bind);
        let listener = TcpListener::bind(bind).await.map_err(|error| RunError::Bind {
            setting,
            bind,
            error,
        })?;
        let mut ops = Tasks::default();
        let grants = self.grants.clone();
        let remembered: CachedGrantReader = Arc::new(move |key: &DeviceKey| {
            grants
                .view()
                .get(key.identity())
                .map(|grant| GrantView::of(&grant, clock::now(), Instant::now()))
        });
        let (metrics, readiness) = (self.metrics.clone(), self.readiness.clone());
        ops.spawn("ops", http::serve_ops(listener, metrics, readiness, remembered, stop));
        Ok(ops)
    }

    /// Starts the API before Postgres is available; it then answers with an error. It stops with
    /// `stop`.
    async fn start_api(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let (setting, bind) = ("HTTP_BIND", self.config.http.api_bind);
        let listener = TcpListener::bind(bind).await.map_err(|error| RunError::Bind {
            setting,
            bind,
            error,
        })?;
        let api = Api::new(self.config.clone(), self.database.clone());
        let numbers = self.metrics.http.api.clone();
        tasks.spawn("api", http::serve_api(listener, api, numbers, self.stop.clone()));
        Ok(())
    }

    /// Starts the public listener if `PUBLIC_BIND` is set.
    async fn start_public(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let Some(bind) = self.config.public.bind else { return Ok(()) };
        let setting = "PUBLIC_BIND";
        let listener = TcpListener::bind(bind).await.map_err(|error| RunError::Bind {
            setting,
            bind,
            error,
        })?;
        let public = PublicApi::new(
            &self.config.public,
            self.guests.clone(),
            self.metrics.guests.clone(),
            clock::now,
        );
        let numbers = self.metrics.http.public.clone();
        tasks.spawn("public", http::serve_public(listener, public, numbers, self.stop.clone()));
        Ok(())
    }

    /// Retries until the schema fits and the persisted session is read. `None` means that `stop`
    /// was cancelled.
    async fn prepare(&self) -> Result<Option<SessionMemory>, SchemaError> {
        let mut retry = self.retry("schema", &self.stop);
        loop {
            let checked = tokio::select! {
                () = self.stop_is_due() => return Ok(None),
                checked = self.check_schema_and_recall() => checked,
            };
            match checked {
                Ok(session) => {
                    retry.reset();
                    return Ok(Some(session));
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
    async fn prepare_and_subscribe(
        &self,
        tasks: &mut Tasks,
    ) -> Result<Option<Subscription>, SchemaError> {
        let (news_in, news) = watch::channel(SessionMemory::default());
        let mut preparing = std::pin::pin!(self.prepare());
        if let Ok(prepared) = tokio::time::timeout(SUBSCRIBE_AFTER, &mut preparing).await {
            let Some(session) = prepared? else { return Ok(None) };
            return Ok(Some(self.start_session(
                tasks,
                SubscriptionMemory::new(session, news_in),
                news,
            )));
        }
        tracing::warn!(
            "Postgres has not answered yet; subscribing all the same, the broker keeps what comes"
        );
        let (recall, recalled) = oneshot::channel();
        let subscription =
            self.start_session(tasks, SubscriptionMemory::unrecalled(recalled, news_in), news);
        let Some(session) = preparing.await? else { return Ok(None) };
        let until = clock::now();
        let absence = session.subscribed.as_ref().map(|last| Absence { since: last.at, until });
        // If the session has ended, its own task reports that.
        let _ended = recall.send(session);
        Ok(Some(Subscription { absence, ..subscription }))
    }

    /// Starts the session with the broker. Until the spine starts, messages wait in its queue, then
    /// at the broker.
    fn start_session(
        &self,
        tasks: &mut Tasks,
        memory: SubscriptionMemory,
        news: watch::Receiver<SessionMemory>,
    ) -> Subscription {
        let (deliveries_in, deliveries) = mpsc::channel(DELIVERIES_QUEUE);
        let (acks_in, acks) = mpsc::channel(ACKS_QUEUE);
        let (broker, numbers) = (self.config.broker.clone(), self.metrics.broker.clone());
        let time = (self.config.ingest.flush_interval, clock::now as Clock);
        let session = BrokerSession::new(
            broker,
            time,
            numbers,
            self.readiness.clone(),
            memory,
            deliveries_in,
            acks,
        );
        tasks
            .spawn("session", session.run(self.stop.clone(), self.config.process.shutdown_timeout));
        Subscription { deliveries, acks: acks_in, news, absence: None }
    }

    async fn check_schema_and_recall(&self) -> Result<SessionMemory, SchemaError> {
        if self.config.database.migrate_on_start {
            log_migrations(&self.database.migrate().await?);
        } else {
            self.database.schema_state().await?.check()?;
        }
        let broker = &self.config.broker;
        Ok(broker_sessions::recall(self.database.pool(), &broker.client_id, &broker.filter())
            .await?)
    }

    /// Starts the tasks that maintain database, certificates, revocation list and access rules.
    fn start_maintenance(&self, tasks: &mut Tasks) {
        let retention = Retention::from(&self.config.database);
        let (pool, store, readiness) = (self.database.pool(), &self.metrics.store, &self.readiness);
        let keep = partitions::keep(
            pool.clone(),
            retention,
            store.clone(),
            readiness.clone(),
            clock::now,
            self.stop.clone(),
        );
        tasks.spawn("partitions", keep);
        tasks.spawn(
            "probe",
            health_probe::watch(
                self.database.clone(),
                readiness.clone(),
                clock::now,
                self.stop.clone(),
            ),
        );
        let (numbers, days) =
            (self.metrics.certificates.clone(), self.config.certificates.expiry_warning_days);
        let upkeep = CertificateUpkeep::new(self.database.clone(), numbers, days, clock::now);
        tasks.spawn("certificates", upkeep.keep(self.stop.clone()));
        let (settings, numbers) = (&self.config.certificates, self.metrics.certificates.clone());
        if let Some(watch) = AuthorityWatch::new(settings, numbers, readiness.clone(), clock::now) {
            tasks.spawn("authority", watch.watch(self.stop.clone()));
        }
        let (database, numbers) = (self.database.clone(), self.metrics.revocation.clone());
        let recheck = Recheck::default();
        let acl = AclWriter::new(
            &self.config,
            self.metrics.broker_acl.clone(),
            readiness.clone(),
            &self.signal,
        );
        if let Some(publisher) =
            CrlPublisher::new(&self.config, database, numbers, readiness.clone(), acl, clock::now)
        {
            tasks.spawn(
                "revocation",
                publisher.with_recheck(recheck.clone()).run(self.stop.clone()),
            );
        }
        let numbers = self.metrics.isolation.clone();
        if let Some(isolation) =
            Isolation::new(&self.config, recheck, numbers, readiness.clone(), clock::now)
        {
            tasks.spawn("isolation", isolation.run(self.stop.clone()));
        }
    }

    /// Starts the path of a message, from the broker to the table and back. Each task ends when the
    /// one before it closes its queue; the session is the first to stop reading and the last to
    /// end.
    fn start_spine(&self, tasks: &mut Tasks, subscription: Subscription) {
        let Subscription { deliveries, acks, news, absence } = subscription;
        let (changes_in, changes) = mpsc::channel(CHANGES_QUEUE);
        let (batches_in, batches) = mpsc::channel(BATCHES_IN_FLIGHT as usize);
        let Self { config, metrics, readiness, database, grants, stop, abandon, .. } = self;

        let (pool, store) = (database.pool().clone(), metrics.store.clone());
        let signal = self.signal.clone();
        tasks.spawn(
            "listen",
            change_feed::follow(
                pool.clone(),
                changes_in,
                signal,
                store,
                readiness.clone(),
                stop.clone(),
            ),
        );
        let keep = broker_sessions::keep(pool, config.broker.client_id.clone(), news, stop.clone());
        tasks.spawn("broker_sessions", keep);

        let (ingest, numbers) = (&config.ingest, metrics.ingest.clone());
        let mut authorizer =
            Authorizer::new(database.directory(), ingest, grants.clone(), numbers, clock::now);
        if let Some(absence) = absence {
            authorizer.record_absence(absence);
        }
        let sizes = Sizes::new(ingest.batch_size, usize::from(config.broker.receive_maximum));
        let gathering = Gathering::new(sizes, ingest.flush_interval);
        let registry_retry = self.retry("registry", abandon);
        let spine =
            Spine::new(authorizer, gathering, registry_retry, metrics.broker.clone(), clock::now);
        tasks.spawn("spine", spine.run(SpineQueues { deliveries, changes, batches: batches_in }));

        let (writer_retry, numbers) = (self.retry("writer", abandon), metrics.ingest.clone());
        let sink = database.sink().of_client(&config.broker.client_id);
        let writer = Writer::new(sink, Acks(acks), writer_retry, numbers, clock::now);
        tasks.spawn("writer", writer.run(batches));
    }

    /// Waits for all tasks. Shortly before the timeout it gives up on Postgres, which leaves time
    /// to disconnect from the broker.
    async fn wind_down(&self, tasks: Tasks) -> Ending {
        let timeout = self.config.process.shutdown_timeout;
        let finished = tasks.finish(timeout);
        tokio::pin!(finished);
        tokio::select! {
            ending = &mut finished => return ending,
            () = tokio::time::sleep(timeout.saturating_sub(DISCONNECT_RESERVE)) => self.abandon.cancel(),
        }
        finished.await
    }

    fn retry(&self, part: &'static str, until: &CancellationToken) -> Retry {
        Retry::new(part, self.metrics.store.clone(), self.readiness.clone(), until.clone())
    }
}

fn log_migrations(applied: &[i64]) {
    if !applied.is_empty() {
        tracing::info!(migrations = ?applied, "the schema was brought up to date");
    }
}
