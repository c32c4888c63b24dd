//! The writer's own connection: plain statements and COPY, each with a time limit.
//!
//! It knows no table. A caller drops it after an outage: a half-open connection is never reused.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::copy_buffer::CopyBuffer;
use super::nodelay_relay::{self, Relay};
use super::tls_fallback;
use crate::domain::ports::Outage;
use crate::store::error::StoreError;

/// Upper bound of connecting, TLS and login included.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The server cancels a statement after this time.
pub const STATEMENT_TIMEOUT: &str = "20s";

/// How long a statement waits for a lock; shorter than [`STATEMENT_TIMEOUT`], so that the error
/// names the lock.
pub const LOCK_TIMEOUT: &str = "10s";

/// The server ends a transaction whose client sends nothing for this time, so that a frozen replica
/// does not block others.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "60s";

/// TCP settings of the server: its kernel finds a lost client within half a minute and ends the
/// session, which locks rows until then. The default is two hours. They have no effect on a Unix
/// socket.
pub const SILENT_CLIENT: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
];

/// Upper bound of one answer; longer than [`STATEMENT_TIMEOUT`], so it means the network or the
/// server is gone.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// COPY data is sent in pieces of about this size: no second copy of a whole batch, written bytes
/// are still in the CPU cache when sent, and Postgres starts before the last rows are written.
const COPY_PIECE: usize = 64 * 1024;

/// Advice when the server does not answer.
const CHECK_THE_ADDRESS: &str =
    "check that Postgres runs, DATABASE_URL (or PGHOST and PGPORT), and firewalls";

/// One connection.
#[derive(Debug)]
pub struct WriterConnection {
    /// For statements with parameters; await them through [`answer`].
    pub(crate) connection: PgConnection,
    /// Whether this connection has created its staging table.
    pub(crate) has_staging: bool,
    /// Batches that are forwarded in the general way before the short way is tried again.
    pub(crate) forwards_in_general: u32,
    /// Why the connection has no TLS although it was preferred. `None`: it has what was configured.
    fallback: Option<String>,
    /// Relays the connection; `None` means a Unix socket.
    relay: Option<Relay>,
}

/// A connection with its relay.
type Connected = (PgConnection, Option<Relay>);

// === impl WriterConnection ===

impl WriterConnection {
    /// Connects.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, StoreError> {
        let patience = CONNECT_PATIENCE.as_secs();
        let late =
            |_| StoreError::Outage(format!("no answer within {patience} s; {CHECK_THE_ADDRESS}"));
        let opened = timeout(CONNECT_PATIENCE, connect_or_fall_back(options)).await.map_err(late);
        let ((connection, relay), fallback) =
            opened.flatten().map_err(|error| unreachable(options, error))?;
        Ok(Self { connection, has_staging: false, forwards_in_general: 0, fallback, relay })
    }

    /// Why the connection has no TLS although it was preferred.
    pub(super) fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Runs statements without parameters; returns the number of rows they touched.
    pub async fn run(&mut self, statements: &'static str) -> Result<u64, StoreError> {
        answer(async { Ok(self.connection.execute(statements).await?.rows_affected()) }).await
    }

    /// Runs `COPY .. FROM STDIN` with `rows`, each written by `put`; returns their number.
    pub(crate) async fn copy<R>(
        &mut self,
        statement: &'static str,
        buffer: &mut CopyBuffer,
        rows: &[R],
        put: impl Fn(&mut CopyBuffer, &R),
    ) -> Result<u64, StoreError> {
        answer(async {
            let mut copy = self.connection.copy_in_raw(statement).await?;
            buffer.start();
            for row in rows {
                put(buffer, row);
                if buffer.written().len() >= COPY_PIECE {
                    copy.send(buffer.written()).await?;
                    buffer.clear();
                }
            }
            buffer.finish();
            copy.send(buffer.written()).await?;
            copy.finish().await
        })
        .await
    }

    /// Returns the handle that closes the connection from outside. `None` means no relay carries
    /// it.
    pub(super) fn abort_handle(&self) -> Option<AbortHandle> {
        self.relay.as_ref().map(Relay::abort_handle)
    }

    /// Closes the connection; an error is only logged.
    pub async fn close(self) {
        if let Ok(Err(error)) = timeout(CONNECT_PATIENCE, self.connection.close()).await {
            tracing::debug!(%error, "the connection to Postgres did not close cleanly");
        }
    }
}

/// Connects as [`tls_fallback`] allows; also returns why without TLS.
async fn connect_or_fall_back(
    options: &PgConnectOptions,
) -> Result<(Connected, Option<String>), StoreError> {
    let error = match Box::pin(connect(options)).await {
        Ok(connected) => return Ok((connected, None)),
        Err(error) => error,
    };
    let Some(plain) = tls_fallback::plain_options(options, &error) else {
        return Err(connect_error(error));
    };
    match Box::pin(connect(&plain)).await {
        Ok(connected) => Ok((connected, Some(error.to_string()))),
        Err(second) => {
            let Outage(second) = connect_error(second).into();
            Err(StoreError::Outage(format!(
                "the TLS certificate of Postgres cannot be read ({error}), and without TLS: {second}"
            )))
        }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<Connected, sqlx::Error> {
    match nodelay_relay::open(options).await? {
        Some((relayed, relay)) => Ok((relayed.connect().await?, Some(relay))),
        None => Ok((options.connect().await?, None)),
    }
}

/// Maps an error of connecting: an IO error then means that no server answers.
fn connect_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(error) => StoreError::Outage(format!("{error}; {CHECK_THE_ADDRESS}")),
        other => other.into(),
    }
}

/// Awaits the answer of `query` for at most [`ANSWER_PATIENCE`].
pub(crate) async fn answer<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(ANSWER_PATIENCE, query).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(StoreError::Outage(format!(
            "Postgres did not answer within {} s",
            ANSWER_PATIENCE.as_secs()
        ))),
    }
}

/// Adds the address to `error`; never the URL, which may contain the password.
fn unreachable(options: &PgConnectOptions, error: StoreError) -> StoreError {
    let place = match options.get_socket() {
        Some(socket) => format!("socket {} port {}", socket.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let Outage(text) = error.into();
    StoreError::Outage(format!("cannot connect to Postgres at {place}: {text}"))
}
