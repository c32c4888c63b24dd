//! Waits for the notification that there is something to publish.
//!
//! The notification is a hint: the publisher also looks without one, so a lost connection costs
//! latency and no message.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::error::StoreError;

/// The channel that the triggers of commands and documents notify.
const CHANNEL: &str = "sluice_outbox";

/// Upper bound of connecting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Notifications read at once; a burst wakes the publisher once.
const DRAIN_MAX: usize = 1_000;

/// A connection that listens.
#[derive(Debug)]
pub struct OutboxSignal {
    listener: PgListener,
}

// === impl OutboxSignal ===

impl OutboxSignal {
    /// Connects and listens.
    pub async fn listen(database: &Database) -> Result<Self, Outage> {
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(database.bounded_options().clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&own).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match timeout(PATIENCE, listening).await {
            Ok(Ok(listener)) => Ok(Self { listener }),
            Ok(Err(error)) => Err(StoreError::from(error).into()),
            Err(_) => Err(Outage("Postgres did not answer LISTEN in time".into())),
        }
    }

    /// Waits for a notification, and takes those that arrived with it. An error ends the
    /// connection.
    pub async fn notified(&mut self) -> Result<(), Outage> {
        match self.listener.try_recv().await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Outage("Postgres closed the connection".into())),
            Err(error) => return Err(StoreError::from(error).into()),
        }
        for _ in 0..DRAIN_MAX {
            if self.listener.next_buffered().is_none() {
                break;
            }
        }
        Ok(())
    }
}
