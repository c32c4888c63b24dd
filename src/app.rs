//! The daemon on one screen: which components start, in which order, and how they end.
//!
//! Each component builds itself from its own settings; this folder only connects them:
//! [`listeners`] and [`hooks`] answer HTTP, [`subscription`] starts the session with the broker,
//! [`maintenance`] the periodic tasks, [`spine`] the path of a message, [`links`] the connections to
//! other brokers, and [`exchange`] the path of requests and of messages to devices, also of
//! [`device_errors`]. [`draining`] ends this replica on purpose and watches the others; [`adoption`]
//! stores what waits for one that is gone.

pub(crate) mod adoption;
mod device_errors;
mod draining;
mod exchange;
mod hooks;
mod links;
mod listeners;
mod maintenance;
mod mqtt_api;
mod outbox;
mod spine;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::access::policy::file::PolicyFileError;
use crate::clock;
use crate::config::{Config, Effective};
use crate::domain::registry_change::RegistryChange;
use crate::http::{Api, EstTlsError, LiveDesk, Sessions};
use crate::ingest::grants::Grants;
use crate::ingest::retry::Retry;
use crate::lifecycle::service_manager::{ServiceManager, ServiceProgress};
use crate::lifecycle::{Ending, Readiness, Tasks};
use crate::link::file::{self, LinksFileError};
use crate::link::settings::LinkSet;
use crate::pki::authority::directory::DirectoryError;
use crate::plugin_link::{PluginControl, SocketError};
use crate::registry::guests::Guests;
use crate::registry::signer;
use crate::store::connection::database::{Database, OpenError};
use crate::store::registry::change_feed::ChangeSignal;
use crate::store::schema::migrate::SchemaError;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pulse::Pulse;

/// Component of readiness that is unwell until all others have started.
const COMPONENT: &str = "start";

/// Part of `SHUTDOWN_TIMEOUT_SECONDS` that remains for the disconnect after giving up on Postgres.
const DISCONNECT_RESERVE: Duration = Duration::from_secs(3);

/// Upper bound for open HTTP responses at the end, and again for closing the Postgres connections.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Registry changes that wait for a reader. Beyond this, it drops everything cached instead.
const CHANGES_QUEUE: usize = 1024;

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
    /// The links file is invalid.
    #[error(transparent)]
    Links(#[from] LinksFileError),
    /// An authority of a cell is unusable.
    #[error(transparent)]
    CellAuthorities(#[from] DirectoryError),
    /// A file of the EST listener is unusable.
    #[error(transparent)]
    Est(#[from] EstTlsError),
    /// The socket of the broker's plugin is not available.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Two metrics have one name: a defect of the program.
    #[error("the metrics cannot be registered: {0}; report this as a defect")]
    Metrics(String),
    /// A task exited before `stop`.
    #[error("the task {0} ended before the daemon was stopped; the log above says why")]
    TaskDied(&'static str),
    /// Some tasks were still running at the timeout and were aborted.
    #[error(
        "some tasks did not end within SHUTDOWN_TIMEOUT_SECONDS; the broker keeps the messages that \
         were not stored"
    )]
    TimedOut,
}

/// Values that every component is built from.
struct Daemon {
    config: Config,
    metrics: Metrics,
    readiness: Readiness,
    /// How far the daemon is, for the service manager.
    progress: ServiceProgress,
    database: Database,
    /// Cached registry answers: the spine fills the cache, the ops listener shows it.
    grants: Grants,
    /// The routes of the API, over HTTP and over MQTT.
    api: Api,
    /// Public credentials.
    guests: Guests,
    /// The links, as the links file has them.
    links: watch::Sender<Arc<LinkSet>>,
    /// Notified when a link is new.
    has_new_link: Arc<Notify>,
    /// Notified when the registry may have changed.
    signal: ChangeSignal,
    /// The changes of the registry.
    changes: broadcast::Sender<RegistryChange>,
    /// Orders for the broker's plugins.
    plugins: PluginControl,
    /// Cancelled to stop reading new work.
    stop: CancellationToken,
    /// Cancelled to stop waiting for Postgres.
    abandon: CancellationToken,
}

/// Runs the daemon until `stop` is cancelled, or until it is drained, which `drain` orders too.
pub async fn run(
    config: Config,
    settings: Vec<Effective>,
    stop: CancellationToken,
    drain: Arc<Notify>,
) -> Result<(), RunError> {
    let metrics = Metrics::new().map_err(|error| RunError::Metrics(error.to_string()))?;
    let links = config.links.path.as_deref().map_or_else(|| Ok(LinkSet::default()), file::load)?;
    let links = watch::Sender::new(Arc::new(links));
    signer::check_cell_authorities(&config.certificates, clock::now())?;
    let database = Database::open(&config.database, metrics.store.clone())?;
    let (readiness, abandon) = (Readiness::default(), CancellationToken::new());
    // The ops listener answers before the other components can report.
    readiness.unwell(COMPONENT, "starting: the schema is being checked");
    let grants = Grants::new(&config.ingest);
    let guests = Guests::new(database.clone(), config.public.max_guests, clock::now);
    let signal = ChangeSignal::default();
    let (replays, certificates) = (metrics.replay.clone(), metrics.certificates.clone());
    let sessions = Sessions::new(&config, database.clone(), &metrics, clock::now);
    let pulse = Pulse::new(metrics.clone(), clock::now());
    let api = Api::new(
        config.clone(),
        database.clone(),
        sessions,
        replays,
        certificates,
        pulse.clone(),
        readiness.clone(),
    )
    .showing(settings, metrics.cells.clone())
    .tailing(LiveDesk::new(metrics.live.clone(), stop.clone()));
    let daemon = Daemon {
        config,
        metrics,
        readiness,
        progress: ServiceProgress::default(),
        database,
        grants,
        api,
        guests,
        links,
        has_new_link: Arc::default(),
        signal,
        changes: broadcast::Sender::new(CHANGES_QUEUE),
        plugins: PluginControl::default(),
        stop,
        abandon,
    };

    let ops_stop = CancellationToken::new();
    let mut ops = daemon.start_ops(ops_stop.clone()).await?;
    daemon.start_notices(&mut ops, &ops_stop);
    ops.spawn("pulse", pulse.run(clock::now, ops_stop.clone()));
    ops.spawn("fleet", daemon.api.clone().keep_fleet_current(ops_stop.clone()));
    ops.spawn("doctor", daemon.api.clone().keep_doctor(ops_stop.clone()));
    daemon.start_api(&mut ops).await?;
    daemon.start_hooks(&mut ops).await?;
    daemon.start_public(&mut ops).await?;
    daemon.start_est(&mut ops).await?;
    let ended = daemon.run(&mut ops, drain).await;
    ops_stop.cancel();
    ops.finish(CLOSE_TIMEOUT).await;
    // A connection that a query without an answer holds never returns to the pool.
    if tokio::time::timeout(CLOSE_TIMEOUT, daemon.database.close()).await.is_err() {
        tracing::warn!(
            "connections to Postgres did not close in time; they close with the process"
        );
    }
    ended
}

// === impl Daemon ===

impl Daemon {
    /// Starts the notices to the service manager, if one started this process. They end with `end`.
    fn start_notices(&self, tasks: &mut Tasks, end: &CancellationToken) {
        let Some(manager) = ServiceManager::of_process() else { return };
        let (progress, readiness) = (self.progress.clone(), self.readiness.clone());
        tasks.spawn(
            "service manager",
            manager.run(progress, readiness, self.stop.clone(), end.clone()),
        );
    }

    async fn run(&self, ops: &mut Tasks, drain: Arc<Notify>) -> Result<(), RunError> {
        let mut tasks = Tasks::default();
        self.start_draining(&mut tasks, drain);
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
        let exchange = self.start_exchange(&mut tasks);
        let links = self.start_links(&mut tasks, self.links.subscribe());
        self.start_orphan_watch(&mut tasks, links.plan.clone());
        self.start_spine(&mut tasks, subscription, links, &exchange);
        // It ends when its last user has ended.
        drop(exchange);
        self.readiness.well(COMPONENT);
        self.progress.started();
        let ended_task = tokio::select! {
            ended_task = tasks.watch(&self.stop) => ended_task,
            ended_task = ops.watch(&self.stop) => ended_task,
            () = self.drained() => None,
        };
        self.stop.cancel();
        tracing::info!("stopping: Sluice receives no further messages, and stores those it has");
        match (ended_task, self.wind_down(tasks).await) {
            (Some(name), _) => Err(RunError::TaskDied(name)),
            (None, Ending::TimedOut) => Err(RunError::TimedOut),
            (None, Ending::Done) => Ok(()),
        }
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

    fn retry(&self, component: &'static str, until: &CancellationToken) -> Retry {
        Retry::new(component, self.metrics.store.clone(), self.readiness.clone(), until.clone())
    }
}
