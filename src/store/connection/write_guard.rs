//! Watches a write that gets no answer. When Postgres waits for the client at the same time, the
//! connection between them carries nothing; it is closed at once instead of after the upper bound
//! of an answer.
//!
//! It checks over a second connection, so it needs another working path. It ends no process of the
//! server.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, BackendActivity};
use super::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// Time before the first check of a write, and pause between two checks.
const CHECK_AFTER: Duration = Duration::from_secs(4);

/// Pause between the two readings of one check: a slow client sends something in between, a dead
/// path nothing.
const SECOND_CHECK_AFTER: Duration = Duration::from_secs(1);

/// Upper bound of one check, connecting included.
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

/// What a write depends on: the server's process and the connection to it.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    /// The process that serves the connection.
    backend: Backend,
    /// Closes the connection at this end.
    abort: AbortHandle,
}

/// Runs `write` to its end and watches it. It never drops `write`: only its result says what was
/// written.
pub(crate) async fn watch_write<T>(
    guard: Option<WriteGuard>,
    options: &PgConnectOptions,
    write: impl Future<Output = T>,
) -> T {
    let Some(guard) = guard else { return write.await };
    tokio::pin!(write);
    tokio::select! {
        biased;
        done = &mut write => return done,
        () = guard.close_when_silent(options) => {}
    }
    write.await
}

// === impl WriteGuard ===

impl WriteGuard {
    /// What a write on `session` depends on. `None` means its backend is unknown or its connection
    /// cannot be closed from outside.
    pub(crate) fn of(session: &WriterConnection, backend: Option<Backend>) -> Option<Self> {
        Some(Self { backend: backend?, abort: session.abort_handle()? })
    }

    /// Checks until the connection carries nothing; closes it and returns.
    async fn close_when_silent(&self, options: &PgConnectOptions) {
        loop {
            sleep(CHECK_AFTER).await;
            if let Ok(Ok(true)) = timeout(CHECK_PATIENCE, self.carries_nothing(options)).await {
                tracing::warn!(
                    "the writer's connection to Postgres carries no data: each side waits for the \
                    other; Sluice reconnects, no messages are lost"
                );
                self.abort.abort();
                return;
            }
        }
    }

    async fn carries_nothing(&self, options: &PgConnectOptions) -> Result<bool, StoreError> {
        let mut session = WriterConnection::open(options).await?;
        let first = self.backend.activity(&mut session).await?;
        if let BackendActivity::WaitsForClient(_) = first {
            sleep(SECOND_CHECK_AFTER).await;
        }
        let second = self.backend.activity(&mut session).await?;
        session.close().await;
        Ok(second == BackendActivity::Gone
            || (first == second && matches!(second, BackendActivity::WaitsForClient(_))))
    }
}
