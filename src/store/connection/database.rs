//! The options of connections, from the settings, and the pool for lookups.
//!
//! It never waits for Postgres: connections open on first use, so the daemon starts without it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use super::writer_connection::{
    IDLE_IN_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, SILENT_CLIENT, STATEMENT_TIMEOUT,
};
use crate::config::sections::database::DatabaseConfig;
use crate::telemetry::store::StoreMetrics;

/// `application_name` of every connection, as `pg_stat_activity` shows it.
pub(super) const APPLICATION_NAME: &str = "sluice";

/// Upper bound of the wait for a connection of the pool, connecting included.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// The database of the settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    plain: PgConnectOptions,
    bounded: PgConnectOptions,
    pool: PgPool,
    metrics: StoreMetrics,
}

/// Why the settings name no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// `DATABASE_URL` does not parse. The text never quotes it: it may contain a password.
    #[error(
        "DATABASE_URL is not a valid URL (not shown, because it may contain a password): write \
        postgres://user:password@host:5432/database, with special characters percent-encoded"
    )]
    BadUrl,
}

// === impl Database ===

impl Database {
    /// Reads the settings without connecting. Must be called within the runtime.
    pub fn open(config: &DatabaseConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let options = match &config.url {
            Some(url) => PgConnectOptions::from_str(url.expose()).map_err(|_| OpenError::BadUrl)?,
            None => PgConnectOptions::new(),
        };
        let plain = options.application_name(APPLICATION_NAME).disable_statement_logging();
        let plain = plain
            .options(SILENT_CLIENT)
            .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT)]);
        let bounded = plain
            .clone()
            .options([("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", LOCK_TIMEOUT)]);
        // The pool tests a connection before use (its default): after a restart of the server each
        // pooled connection would otherwise fail one lookup.
        let pool = PgPoolOptions::new()
            .max_connections(config.pool_max)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .connect_lazy_with(bounded.clone());
        Ok(Self { plain, bounded, pool, metrics })
    }

    /// The pool for lookups and the registry; every statement on it has a time limit.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The same database with a pool of its own: its statements cannot take the connections of
    /// others, and the server cancels each after this time, also if no caller waits for it any
    /// longer.
    #[must_use]
    pub fn with_own_pool(&self, connections: u32, statement_timeout: Duration) -> Self {
        let milliseconds = statement_timeout.as_millis().to_string();
        let bounded = self.plain.clone().options([("statement_timeout", milliseconds)]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .connect_lazy_with(bounded.clone());
        Self { bounded, pool, ..self.clone() }
    }

    /// Whether the pool gets a working connection within this time.
    pub async fn is_available(&self, within: Duration) -> bool {
        matches!(tokio::time::timeout(within, self.pool.acquire()).await, Ok(Ok(_)))
    }

    /// The metrics of Postgres.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Options of a separate connection whose statements have a time limit.
    pub(crate) fn bounded_options(&self) -> &PgConnectOptions {
        &self.bounded
    }

    /// Options without a statement time limit, for migrations.
    pub(crate) fn unbounded_options(&self) -> &PgConnectOptions {
        &self.plain
    }

    /// Closes the pool; waits until all connections are returned.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
