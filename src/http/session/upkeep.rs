//! Deletes sessions and codes that have ended, counts the open sessions, and keeps the keys of the
//! identity provider.
//!
//! A row that has ended opens nothing: this only frees its space.

use std::sync::PoisonError;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Sessions;
use crate::domain::ports::Outage;
use crate::store::console::{login_codes, sessions};

/// How often.
const PAUSE: Duration = Duration::from_mins(1);

// === impl Sessions ===

impl Sessions {
    /// Runs until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut refreshers = {
            let mut waiting = self.shared.refreshers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        match refreshers.pop() {
            Some(keys) => drop(tokio::join!(self.purge_until(&stop), keys.run(stop.clone()))),
            None => self.purge_until(&stop).await,
        }
    }

    async fn purge_until(&self, stop: &CancellationToken) {
        loop {
            if let Err(outage) = self.look_up(self.purge()).await {
                tracing::debug!(
                    "deleting ended sessions of the console failed: {outage}; retrying"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => (),
            }
        }
    }

    async fn purge(&self) -> Result<(), Outage> {
        let (pool, now) = (self.shared.database.pool(), self.now());
        login_codes::purge(pool, now).await?;
        let open = sessions::purge(pool, now, self.idle_since(now)).await?;
        self.shared.metrics.plain.sessions.set(open);
        Ok(())
    }
}
