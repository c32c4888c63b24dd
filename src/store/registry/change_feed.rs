//! Listens for changes of the registry, whatever their source, and reports which cache entries are
//! stale.
//!
//! It decides nothing and caches nothing. After a gap it reports [`RegistryChange::Everything`]. A
//! reader that is too slow loses changes and must take that as [`RegistryChange::Everything`].

use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::domain::registry_change::RegistryChange;
use crate::lifecycle::Readiness;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::error::StoreError;
use crate::telemetry::store::StoreMetrics;

/// The channel that the triggers of the registry's tables notify.
pub const CHANNEL: &str = "sluice_invalidate";

/// Silence after which the connection is probed, and upper bound of the probe: a dead connection is
/// found within 3 s.
const PROBE_AFTER: Duration = Duration::from_secs(1);
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// Upper bound of connecting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first pause before reconnecting; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before reconnecting: until then stale cache entries stay in use.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The component of readiness that this module reports.
const COMPONENT: &str = "listen";

const TEXTS: HealthTexts = HealthTexts {
    failed: "Sluice does not receive registry changes (LISTEN)",
    action: "reconnecting; changes take effect after AUTH_CACHE_TTL_SECONDS at the latest",
    recovered: "Sluice receives registry changes again",
};

/// Signals that the registry may have changed, to tasks that read it as a whole. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ChangeSignal(watch::Sender<u64>);

/// The listener: where changes go, and how its health is reported.
struct ChangeFeed {
    pool: PgPool,
    changes: broadcast::Sender<RegistryChange>,
    signal: ChangeSignal,
    metrics: StoreMetrics,
    health: HealthReporter,
    backoff: Backoff,
}

/// Why listening ended.
#[derive(Debug, thiserror::Error)]
enum ListenEnded {
    /// `stop` was cancelled, or every reader of the changes is gone.
    #[error("Sluice is stopping")]
    Stopped,
    /// The server closed the connection.
    #[error("Postgres closed the connection")]
    Closed,
    /// The server does not answer.
    #[error("Postgres does not answer")]
    Silent,
    /// The error of the database.
    #[error("{0}")]
    Outage(Outage),
}

/// Listens until `stop`, on a connection of its own. After each connect it sends
/// [`RegistryChange::Everything`], so no cache entry outlives a missed notification.
pub async fn follow(
    pool: PgPool,
    changes: broadcast::Sender<RegistryChange>,
    signal: ChangeSignal,
    metrics: StoreMetrics,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let health = HealthReporter::new(COMPONENT, readiness, TEXTS);
    let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut feed = ChangeFeed { pool, changes, signal, metrics, health, backoff };
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => ListenEnded::Stopped,
            ended = feed.listen() => ended,
        };
        feed.metrics.listening.set(0);
        if matches!(ended, ListenEnded::Stopped) {
            return;
        }
        feed.health.failed(&ended.to_string(), Instant::now());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(feed.backoff.next_pause()) => {}
        }
    }
}

// === impl ChangeFeed ===

impl ChangeFeed {
    /// Runs one connection from LISTEN to its end. It never reconnects: a listener that does could
    /// lose notifications without an error.
    async fn listen(&mut self) -> ListenEnded {
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(self.pool.connect_options().as_ref().clone());
        let listener = match timeout(PATIENCE, connect(&own)).await {
            Ok(Ok(listener)) => listener,
            Ok(Err(error)) => return error.into(),
            Err(_) => return ListenEnded::Silent,
        };
        self.report_listening();
        if self.changes.send(RegistryChange::Everything).is_err() {
            return ListenEnded::Stopped;
        }
        forward_changes(listener, &self.changes, &self.signal).await
    }

    /// Reports that LISTEN works, and that any change may have been missed before.
    fn report_listening(&mut self) {
        self.backoff.reset();
        self.health.worked(Instant::now());
        self.metrics.listening.set(1);
        self.signal.notify();
    }
}

// === impl ChangeSignal ===

impl ChangeSignal {
    /// Returns a watcher of later changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn notify(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

// === impl ListenEnded ===

impl From<sqlx::Error> for ListenEnded {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === private helpers ===

async fn connect(own: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(own).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Forwards notifications until the connection ends.
async fn forward_changes(
    mut listener: PgListener,
    changes: &broadcast::Sender<RegistryChange>,
    signal: &ChangeSignal,
) -> ListenEnded {
    loop {
        match timeout(PROBE_AFTER, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                signal.notify();
                if changes.send(RegistryChange::parse(notification.payload())).is_err() {
                    return ListenEnded::Stopped;
                }
            }
            Ok(Ok(None)) => return ListenEnded::Closed,
            Ok(Err(error)) => return error.into(),
            // The listener keeps notifications that arrive during the probe.
            Err(_) => match timeout(PROBE_PATIENCE, sqlx::query("SELECT 1").execute(&mut listener))
                .await
            {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return ListenEnded::Silent,
            },
        }
    }
}
