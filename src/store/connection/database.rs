//! How Postgres is reached: the options from the settings, the pool for lookups, the writer's own connection.
//!
//! Nothing here waits for Postgres: connections are made when they are needed, so the daemon starts without it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use super::writer_connection::{IDLE_IN_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, SILENT_CLIENT, STATEMENT_TIMEOUT};
use crate::config::sections::database::DatabaseConfig;
use crate::store::access::logins::PgLogbook;
use crate::store::access::replicas::PgRoster;
use crate::store::batch::sink::PgSink;
use crate::store::registry::directory::PgDirectory;
use crate::telemetry::store::StoreMetrics;

/// What Postgres shows of us in `pg_stat_activity`.
pub(super) const APPLICATION_NAME: &str = "sluice";

/// How long a lookup waits for a connection of the pool, connecting included.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// Postgres, as the settings name it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    plain: PgConnectOptions,
    bounded: PgConnectOptions,
    pool: PgPool,
    metrics: StoreMetrics,
}

/// The settings do not say where Postgres is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one; it is not shown, for it may hold a password.
    #[error(
        "DATABASE_URL cannot be read (it is not shown, it may hold a password): \
         write postgres://user:password@host:5432/database, special characters percent-encoded"
    )]
    BadUrl,
}

// === impl Database ===

impl Database {
    /// Reads the settings; connects to nothing yet. Must be called within the runtime.
    pub fn open(config: &DatabaseConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let options = match &config.url {
            Some(url) => PgConnectOptions::from_str(url.expose()).map_err(|_| OpenError::BadUrl)?,
            None => PgConnectOptions::new(),
        };
        let plain = options.application_name(APPLICATION_NAME).disable_statement_logging();
        let plain = plain
            .options(SILENT_CLIENT)
            .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT)]);
        let bounded = plain.clone().options([("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", LOCK_TIMEOUT)]);
        // A connection is tested before it is lent: lookups are rare, and a restarted server would else fail one for each
        // connection the pool holds.
        let pool = PgPoolOptions::new()
            .max_connections(config.pool_max)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .connect_lazy_with(bounded.clone());
        Ok(Self { plain, bounded, pool, metrics })
    }

    /// For lookups and the registry; every statement on it is bounded in time.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The writer's door, on a connection of its own.
    pub fn sink(&self) -> PgSink {
        PgSink::new(self.bounded.clone(), self.metrics.clone())
    }

    /// The same, but whatever is written is taken back.
    pub fn rehearsal(&self) -> PgSink {
        self.sink().rehearsing()
    }

    /// The authorizer's door, on the pool.
    pub fn directory(&self) -> PgDirectory {
        PgDirectory::new(self.pool.clone())
    }

    /// The door for logins at the broker, on the pool.
    pub fn logbook(&self) -> PgLogbook {
        PgLogbook::new(self.pool.clone())
    }

    /// The door for the list of replicas, on the pool; the own row gets this user name.
    pub fn roster(&self, client_id: &str, username: Option<String>) -> PgRoster {
        PgRoster::new(self.pool.clone(), client_id.to_owned(), username)
    }

    /// The metrics of Postgres.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// For one connection of one's own, every statement on it bounded in time.
    pub(crate) fn bounded_options(&self) -> &PgConnectOptions {
        &self.bounded
    }

    /// For migrations, which may take longer than any bound on ordinary work.
    pub(crate) fn unbounded_options(&self) -> &PgConnectOptions {
        &self.plain
    }

    /// Closes the pool, waiting for what it lent out.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
