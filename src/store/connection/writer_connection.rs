//! The writer's own connection: plain statements and COPY, each bounded in time.
//!
//! It knows no table. Whoever gets an outage from it drops it: nothing half open is used again.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::time::timeout;

use super::backend::Backend;
use super::nodelay_relay::{self, Relay};
use super::write_guard::Lifeline;
use crate::store::batch::copy::CopyBuffer;
use crate::store::error::StoreError;

/// How long connecting may take, TLS and login included.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long the server works on one statement before it gives up by itself.
pub const STATEMENT_TIMEOUT: &str = "20s";

/// How long one statement waits for a lock: shorter than the statement, so that the error names the lock.
pub const LOCK_TIMEOUT: &str = "10s";

/// After this the server ends a transaction whose client fell silent, so that a frozen replica does not block the others.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "60s";

/// What the server's kernel does for us when this machine, or the network to it, is gone without a word: within half a minute
/// it finds out and ends the session, whose rows are locked until then. By default it takes two hours. Without meaning on a
/// Unix socket.
pub const SILENT_CLIENT: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
];

/// How long one answer may take; longer than [`STATEMENT_TIMEOUT`], so it means the network or the server is gone.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// COPY data goes to the socket in pieces of about this size: a batch is never held whole a second time, what was just put
/// down is still in the cache when the kernel takes it, and Postgres begins on the first rows before the last are there.
const COPY_PIECE: usize = 64 * 1024;

/// What to do when nobody answers.
const CHECK_THE_ADDRESS: &str = "is it running? Check DATABASE_URL (or PGHOST and PGPORT) and firewalls";

/// One connection.
#[derive(Debug)]
pub struct WriterConnection {
    /// For statements with parameters; their answer is awaited through [`answer`].
    pub(crate) connection: PgConnection,
    /// The temporary tables this connection has by now.
    pub(crate) has_staging: bool,
    /// Carries the connection, when it goes by TCP.
    relay: Option<Relay>,
}

// === impl Session ===

impl WriterConnection {
    /// Connects.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, StoreError> {
        let patience = CONNECT_PATIENCE.as_secs();
        let late = |_| StoreError::Outage(format!("no answer within {patience} s; {CHECK_THE_ADDRESS}"));
        let opened = timeout(CONNECT_PATIENCE, connect(options)).await.map_err(late);
        let (connection, relay) = opened.flatten().map_err(|trouble| unreachable(options, trouble))?;
        Ok(Self { connection, has_staging: false, relay })
    }

    /// Runs statements that take no parameters; says how many rows they touched.
    pub async fn run(&mut self, statements: &'static str) -> Result<u64, StoreError> {
        answer(async { Ok(self.connection.execute(statements).await?.rows_affected()) }).await
    }

    /// Runs `COPY .. FROM STDIN` with these rows, each put down by `put`; says how many there were.
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

    /// What a write over it depends on; none where no path can go dark, or none can be closed from outside.
    pub(crate) fn lifeline(&self, backend: Option<Backend>) -> Option<Lifeline> {
        Some(Lifeline { backend: backend?, cut: self.relay.as_ref()?.cut() })
    }

    /// Says goodbye; what goes wrong then harms nobody.
    pub async fn close(self) {
        if let Ok(Err(error)) = timeout(CONNECT_PATIENCE, self.connection.close()).await {
            tracing::debug!(%error, "the connection to Postgres did not close cleanly");
        }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<(PgConnection, Option<Relay>), StoreError> {
    match nodelay_relay::open(options).await.map_err(|error| not_there(sqlx::Error::Io(error)))? {
        Some((relayed, relay)) => Ok((relayed.connect().await.map_err(not_there)?, Some(relay))),
        None => Ok((options.connect().await.map_err(not_there)?, None)),
    }
}

/// Before there is a connection, none can break: nobody answers there.
fn not_there(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Io(error) => StoreError::Outage(format!("{error}; {CHECK_THE_ADDRESS}")),
        other => other.into(),
    }
}

/// Waits for one answer, within bounds.
pub(crate) async fn answer<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match timeout(ANSWER_PATIENCE, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(StoreError::Outage(format!("Postgres did not answer within {} s", ANSWER_PATIENCE.as_secs()))),
    }
}

/// The trouble with the place it came from; never the URL, which may hold the password.
fn unreachable(options: &PgConnectOptions, trouble: StoreError) -> StoreError {
    let place = match options.get_socket() {
        Some(socket) => format!("socket {} port {}", socket.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let crate::domain::ports::Outage(text) = trouble.into();
    StoreError::Outage(format!("cannot connect to Postgres at {place}: {text}"))
}
