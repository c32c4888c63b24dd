//! Watches over a write that gets no answer: when Postgres itself waits for us, the path between is dark, and the connection
//! is closed at once instead of after the longest time an answer may take.
//!
//! It looks over a connection of its own, so it can tell only while another path is open. It ends nothing at the server.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Doing};
use super::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// How long a write may take before it is looked into, and the pause between two looks.
const LOOK_AFTER: Duration = Duration::from_secs(4);

/// The server must be seen to wait twice, with this between and nothing in it: a client that is merely slow sends something.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);

/// How long one look may take, connecting included.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// What a write depends on: the server's process, and the way there.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// Who works for this connection.
    pub backend: Backend,
    /// Closes the connection at our end.
    pub cut: AbortHandle,
}

/// Carries out a write and watches over it. It is never dropped half way: what it had done by then it alone can tell.
pub(crate) async fn watched<T>(
    lifeline: Option<Lifeline>,
    options: &PgConnectOptions,
    write: impl Future<Output = T>,
) -> T {
    let Some(lifeline) = lifeline else { return write.await };
    tokio::pin!(write);
    tokio::select! {
        biased;
        done = &mut write => return done,
        () = lifeline.guard(options) => {}
    }
    write.await
}

// === impl Lifeline ===

impl Lifeline {
    /// Looks again and again; ends when the path was found dark and the connection has been cut.
    async fn guard(&self, options: &PgConnectOptions) {
        loop {
            sleep(LOOK_AFTER).await;
            if let Ok(Ok(true)) = timeout(LOOK_PATIENCE, self.is_dark(options)).await {
                tracing::warn!(
                    "Postgres waits for the writer while the writer waits for Postgres: the connection between them is dark; it \
                     is closed and opened again, nothing is lost"
                );
                self.cut.abort();
                return;
            }
        }
    }

    async fn is_dark(&self, options: &PgConnectOptions) -> Result<bool, StoreError> {
        let mut session = WriterConnection::open(options).await?;
        let first = self.backend.doing(&mut session).await?;
        if let Doing::WaitsForClient(_) = first {
            sleep(SECOND_LOOK_AFTER).await;
        }
        let second = self.backend.doing(&mut session).await?;
        session.close().await;
        Ok(second == Doing::Gone || (first == second && matches!(second, Doing::WaitsForClient(_))))
    }
}
