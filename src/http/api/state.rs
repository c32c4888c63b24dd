//! What every endpoint works with: the settings, the database, the audit actor, and the permits
//! that limit concurrency.
//!
//! It answers no request.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::admin_token::AdminTokenHash;
use super::identity::Acting;
use crate::access::record::AccessRecord;
use crate::clock;
use crate::config::{Config, Effective};
use crate::doctor::desk::DoctorDesk;
use crate::doctor::examination::{Patient, examine, judge_readiness};
use crate::downlink::DownlinkContext;
use crate::http::est::inspect::inspect as inspect_est_files;
use crate::http::fleet_cache::{FleetCache, FleetSource};
use crate::http::live::LiveDesk;
use crate::http::session::Sessions;
use crate::http::shared_counts::SharedCounts;
use crate::ingest::live_feed::LiveFeed;
use crate::lifecycle::Readiness;
use crate::lifecycle::draining::DrainDesk;
use crate::quarantine::Quarantine;
use crate::quarantine::replay_worker::ReplaySignal;
use crate::registry::ActionContext;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
use crate::telemetry::cells::CellMetrics;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::ingest::IngestMetrics;
use crate::telemetry::pulse::Pulse;

/// Requests that run at a time: half of the default `PG_POOL_MAX`, so that ingest always finds a
/// connection.
const WORKING_MAX: usize = 4;

/// Requests that wait for a revocation at a time. Each polls Postgres a few times a second and
/// holds no working permit between polls.
const WAITING_MAX: usize = 16;

/// How long a request may wait for a revocation, in seconds; less than the time of a whole request.
pub(crate) const WAIT_SECONDS_MAX: u32 = 20;

/// The state of the API. Clones share it.
#[derive(Clone)]
pub struct Api {
    pub(crate) config: Arc<Config>,
    pub(crate) database: Database,
    pub(crate) actor: Arc<Actor>,
    /// What the sender of the request may do.
    pub(crate) acting: Acting,
    /// The people at the console.
    pub(crate) sessions: Sessions,
    /// Counters of replayed messages.
    pub(crate) replay_metrics: IngestMetrics,
    pub(crate) certificate_metrics: CertificateMetrics,
    /// What the watch of the registry found; `None`: none runs here.
    pub(crate) cell_metrics: Option<CellMetrics>,
    /// What the daemon's metrics showed in the last hour.
    pub(crate) pulse: Pulse,
    pub(crate) readiness: Readiness,
    /// The numbers of the overview.
    pub(crate) fleet: FleetCache,
    /// The counts of lists that took long.
    pub(crate) counts: SharedCounts,
    /// Wakes the task that works on replay jobs.
    pub(crate) replay_signal: ReplaySignal,
    /// The settings as displayed.
    pub(crate) settings: Arc<[Effective]>,
    /// The policy in force, and what the hooks denied.
    pub(crate) access: AccessRecord,
    /// The examinations of the doctor.
    pub(crate) doctor: DoctorDesk,
    /// The drain of this daemon.
    pub(crate) drain: DrainDesk,
    /// The decisions of the spine, for those who listen; `None`: no spine runs here.
    pub(crate) live: Option<LiveDesk>,
    pub(super) admin_token: AdminTokenHash,
    pub(super) working_permits: Arc<Semaphore>,
    pub(super) waiting_permits: Arc<Semaphore>,
}

// === impl Api ===

impl Api {
    /// The state for these settings and this database.
    pub fn new(
        config: Config,
        database: Database,
        sessions: Sessions,
        replay_metrics: IngestMetrics,
        certificate_metrics: CertificateMetrics,
        pulse: Pulse,
        readiness: Readiness,
    ) -> Self {
        let admin_token = AdminTokenHash::new(config.http.admin_token.as_ref());
        Self {
            config: Arc::new(config),
            database,
            actor: Arc::new(Actor::new("api")),
            acting: Acting::admin(),
            sessions,
            replay_metrics,
            certificate_metrics,
            cell_metrics: None,
            pulse,
            readiness,
            fleet: FleetCache::default(),
            counts: SharedCounts::default(),
            replay_signal: ReplaySignal::default(),
            settings: Arc::default(),
            access: AccessRecord::default(),
            doctor: DoctorDesk::default(),
            drain: DrainDesk::default(),
            live: None,
            admin_token,
            working_permits: Arc::new(Semaphore::new(WORKING_MAX)),
            waiting_permits: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// With the settings as displayed, and what the watch of the registry finds.
    #[must_use]
    pub fn showing(self, settings: Vec<Effective>, cells: CellMetrics) -> Self {
        Self { settings: settings.into(), cell_metrics: Some(cells), ..self }
    }

    /// With the decisions of the spine.
    #[must_use]
    pub fn tailing(self, live: LiveDesk) -> Self {
        Self { live: Some(live), ..self }
    }

    /// Where the spine shows its decisions.
    pub(crate) fn live_feed(&self) -> Option<LiveFeed> {
        self.live.as_ref().map(|live| live.feed().clone())
    }

    /// The context of one registry action at the current time.
    pub(crate) fn action_context(&self) -> ActionContext<'_> {
        ActionContext { database: &self.database, actor: &self.actor, now: clock::now() }
    }

    /// The context of one decision about commands and shadows at the current time.
    pub(crate) fn downlink_context(&self) -> DownlinkContext<'_> {
        DownlinkContext {
            database: &self.database,
            actor: &self.actor,
            now: clock::now(),
            settings: &self.config.downlink,
        }
    }

    /// The quarantine, with the actor of the API.
    pub(crate) fn quarantine(&self) -> Quarantine<'_> {
        Quarantine { database: &self.database, actor: &self.actor }
    }

    /// Where the numbers of the overview come from.
    pub(crate) fn fleet_source(&self) -> FleetSource<'_> {
        FleetSource {
            database: &self.database,
            orphan_after: self.config.replica.orphan_after,
            is_up: self.pulse.gauges().is_database_up,
            permits: &self.working_permits,
        }
    }

    /// Counts the fleet again while the overview is looked at, until `stop`.
    pub async fn keep_fleet_current(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.fleet.wanted() => {}
            }
            self.fleet.count_wanted(self.fleet_source()).await;
        }
    }

    /// Examines the daemon whenever someone wants it, until `stop`.
    pub async fn keep_doctor(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.doctor.wanted() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.examine() => {}
            }
        }
    }

    async fn examine(&self) {
        let daemon = async {
            let it = &self.readiness;
            judge_readiness("this daemon", &it.troubles(), &it.warnings(), &it.notes())
        };
        let patient = Patient {
            config: &self.config,
            database: &self.database,
            daemon,
            est_listener: inspect_est_files(&self.config),
        };
        examine(patient, &|step| self.doctor.note(step)).await;
        self.doctor.finish();
    }

    /// Runs `action` under a working permit, on a route that takes none.
    pub(crate) async fn run_with_permit<T>(&self, action: impl Future<Output = T>) -> T {
        let _permit = self.working_permits.acquire().await;
        action.await
    }
}
