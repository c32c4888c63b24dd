//! The options of connections, from the settings, and the pool for lookups.
//!
//! It never waits for Postgres: connections open on first use, so the daemon starts without it.

use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use super::engine::{EngineKind, LastEngine, StoreEngine, TelemetryLayout};
use super::tls_fallback::without_tls;
use super::writer_connection::{
    IDLE_IN_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, SILENT_CLIENT, STATEMENT_TIMEOUT, WriterConnection,
};
use crate::config::sections::database::{DatabaseConfig, ExpectedEngine};
use crate::domain::ports::Outage;
use crate::store::error::StoreError;
use crate::telemetry::store::StoreMetrics;

/// `application_name` of every connection, as `pg_stat_activity` shows it.
pub(super) const APPLICATION_NAME: &str = "sluice";

/// Upper bound of the wait for a connection of the pool, connecting included.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// A batch of the writer uses one connection to each node of Citus: with more, a thousand rows cost
/// six times as much.
const ONE_CONNECTION_A_NODE: [(&str, &str); 1] = [("citus.max_adaptive_executor_pool_size", "1")];

/// The database of the settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    plain: PgConnectOptions,
    bounded: PgConnectOptions,
    /// `plain` and `bounded` without TLS, once it was preferred and the certificate cannot be read.
    unencrypted: Arc<OnceLock<(PgConnectOptions, PgConnectOptions)>>,
    pool: PgPool,
    /// All pools of this database: none tries TLS again after one connection could not read the certificate.
    pools: Arc<Mutex<Vec<PgPool>>>,
    metrics: StoreMetrics,
    expected: ExpectedEngine,
    columnstore_after_days: Option<u32>,
    engine: LastEngine,
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
        let (unencrypted, engine) = (Arc::default(), LastEngine::default());
        let pools = Arc::new(Mutex::new(vec![pool.clone()]));
        Ok(Self {
            plain,
            bounded,
            unencrypted,
            pool,
            pools,
            metrics,
            expected: config.store_engine,
            columnstore_after_days: config.columnstore_after_days,
            engine,
        })
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
        let plain = self.unbounded_options().clone();
        let bounded = plain.clone().options([("statement_timeout", milliseconds)]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .connect_lazy_with(bounded.clone());
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool.clone());
        Self { plain, bounded, unencrypted: Arc::default(), pool, ..self.clone() }
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
        self.unencrypted.get().map_or(&self.bounded, |(_, bounded)| bounded)
    }

    /// Options without a statement time limit, for migrations.
    pub(crate) fn unbounded_options(&self) -> &PgConnectOptions {
        self.unencrypted.get().map_or(&self.plain, |(plain, _)| plain)
    }

    /// Options of a connection that writes batches.
    pub(crate) fn writer_options(&self) -> PgConnectOptions {
        let options = self.bounded_options().clone();
        match self.engine.get() {
            Some(engine) if engine.kind == EngineKind::Citus => {
                options.options(ONE_CONNECTION_A_NODE)
            }
            _ => options,
        }
    }

    /// Opens a connection without a statement time limit. If it has no TLS because the certificate
    /// cannot be read, the later connections try none either.
    pub(crate) async fn connect(&self) -> Result<WriterConnection, StoreError> {
        let session = WriterConnection::open(self.unbounded_options()).await?;
        if let Some(why) = session.fallback() {
            let options = (without_tls(&self.plain), without_tls(&self.bounded));
            for pool in &*self.pools.lock().unwrap_or_else(PoisonError::into_inner) {
                pool.set_connect_options(without_tls(&pool.connect_options()));
            }
            if self.unencrypted.set(options).is_ok() {
                tracing::warn!(
                    "the TLS certificate of Postgres cannot be read: {why}; Sluice connects without TLS, \
                    since sslmode is prefer; give Postgres a certificate of X.509 version 3, or set \
                    sslmode=require to refuse plain connections"
                );
            }
        }
        Ok(session)
    }

    /// Connects once, so that the pool knows whether it can use TLS. A failure is of no interest here: the next statement
    /// meets it, too.
    pub(crate) async fn try_connection(&self) {
        if let Ok(session) = self.connect().await {
            session.close().await;
        }
    }

    /// Reads the engine and remembers it.
    pub async fn read_engine(&self) -> Result<StoreEngine, Outage> {
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let engine = StoreEngine::read(&mut connection, self.expected).await;
        let engine = engine.map_err(StoreError::from)?;
        self.remember_engine(&engine);
        Ok(engine)
    }

    /// The engine that `STORE_ENGINE` names.
    pub fn expected_engine(&self) -> ExpectedEngine {
        self.expected
    }

    /// `COLUMNSTORE_AFTER_DAYS`.
    pub fn columnstore_after_days(&self) -> Option<u32> {
        self.columnstore_after_days
    }

    /// The engine as it was read last. `None`: not yet.
    pub fn engine(&self) -> Option<StoreEngine> {
        self.engine.get()
    }

    /// How telemetry lay when the engine was read last.
    pub fn layout(&self) -> TelemetryLayout {
        self.engine.get().map_or(TelemetryLayout::Partitioned, |engine| engine.layout)
    }

    /// Remembers the engine, and shows it in metrics and log if it is another.
    pub(super) fn remember_engine(&self, engine: &StoreEngine) {
        if self.engine.replace(engine) {
            self.metrics.engine.reset();
            self.metrics.engine.with_label_values(&[engine.kind.label(), &engine.version]).set(1);
            tracing::debug!("the store is {engine}");
        }
    }

    /// Closes the pool; waits until all connections are returned.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
