//! What every answer of the EST listener needs: the settings, the database, the bounds of work and of
//! wrong codes.
//!
//! It answers no request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{Answer, EstRefusal};
use super::attempts::Attempts;
use crate::config::sections::certificates::CertificatesConfig;
use crate::disk;
use crate::domain::time::Clock;
use crate::registry::signer::place_of;
use crate::registry::{ActionContext, SignerError};
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::est::EstMetrics;
use crate::telemetry::logs::Repeated;

/// Requests that sign and store at a time: a fleet that enrols must not exhaust the pool that
/// ingest needs.
const WORKING_MAX: usize = 2;

/// How long a request may wait for its turn, the file system and Postgres.
const WORK_TIMEOUT: Duration = Duration::from_secs(3);

/// The interval between log lines about failed requests.
const FAULT_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The state of the EST listener. Clones share it.
#[derive(Clone)]
pub struct EstApi {
    pub(super) certificates: Arc<CertificatesConfig>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) metrics: EstMetrics,
    pub(super) registry_metrics: CertificateMetrics,
    pub(super) clock: Clock,
    database: Database,
    actor: Arc<Actor>,
    working_permits: Arc<Semaphore>,
    faults: Arc<Mutex<Repeated>>,
}

// === impl EstApi ===

impl EstApi {
    /// The state for these settings.
    pub fn new(
        certificates: CertificatesConfig,
        database: Database,
        (metrics, registry_metrics): (EstMetrics, CertificateMetrics),
        clock: Clock,
    ) -> Self {
        Self {
            certificates: Arc::new(certificates),
            attempts: Arc::new(Attempts::new(clock())),
            metrics,
            registry_metrics,
            clock,
            database,
            actor: Arc::new(Actor::new("est")),
            working_permits: Arc::new(Semaphore::new(WORKING_MAX)),
            faults: Arc::new(Mutex::new(Repeated::new(FAULT_LOG_INTERVAL))),
        }
    }

    pub(super) fn context(&self) -> ActionContext<'_> {
        ActionContext { database: &self.database, actor: &self.actor, now: (self.clock)() }
    }

    /// Reads the files of the authority. A file system can hang.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, SignerError> + Send + 'static,
    ) -> Result<T, EstRefusal> {
        match disk::run(place_of(&self.certificates), read).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(self.fault(&error.to_string())),
            Err(unreachable) => Err(self.fault(&unreachable.to_string())),
        }
    }

    /// Runs `work` when it is its turn, for a bounded time.
    pub(super) async fn within_time(&self, work: impl Future<Output = Answer>) -> Answer {
        let in_turn = async {
            let _permit = self.working_permits.acquire().await;
            work.await
        };
        timeout(WORK_TIMEOUT, in_turn).await.unwrap_or_else(|_| {
            Err(EstRefusal::unavailable("Sluice did not finish in time: send the request again"))
        })
    }

    /// Logs the cause, which is not for the client.
    pub(super) fn fault(&self, cause: &str) -> EstRefusal {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = faults.ready((self.clock)()) {
            tracing::error!(
                more,
                "a request for a certificate failed: {cause}; the device gets 503 and may try again"
            );
        }
        EstRefusal::unavailable("Sluice cannot issue certificates at the moment: try again later")
    }
}
