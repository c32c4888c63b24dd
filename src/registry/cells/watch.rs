//! Watches the copy of the registry: in a cell, how far it is behind; at a registry, what its cells hold.
//!
//! In a cell it writes a sign of life to the registry and waits until that comes back by replication: what
//! came back proves the whole way. A cell that is cut off stays ready: it decides by its copy and stores,
//! and out of service it would do neither. Readiness has a warning, and an alert calls a person, because
//! revocations of that time are not known here. It repairs nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::age_check::{AgeCheck, CopyArrival};
use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::cells::age::older_registry;
use crate::store::cells::cell_side;
use crate::store::cells::membership::{self, CellRole, Membership};
use crate::store::cells::registry_link::RegistryLink;
use crate::store::cells::registry_side::{self, CellOverview};
use crate::store::connection::database::Database;
use crate::telemetry::cells::{CellFigures, CellMetrics};

/// Time between two rounds in a cell and at a registry.
const PERIOD: Duration = Duration::from_secs(5);
/// Time between two rounds of a database that is neither.
const IDLE_PERIOD: Duration = Duration::from_secs(30);
/// How long a sign of life may take to come back before the round reports how old the copy is.
const ECHO_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks for it.
const ECHO_PERIOD: Duration = Duration::from_millis(20);
/// Longest round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(20);
/// A copy that is behind by more, in seconds, is a warning.
pub const LAG_LIMIT: f64 = 30.0;
/// The component of readiness, and its sentences.
pub(crate) const COMPONENT: &str = "registry";
const HEALTH: HealthTexts = HealthTexts {
    failed: "the copy of the registry is not current",
    action: "this cell decides by its copy",
    recovered: "the copy of the registry is current again",
};

/// The watch of one daemon.
#[derive(Debug)]
pub struct RegistryWatch {
    database: Database,
    url: Option<Secret>,
    metrics: CellMetrics,
    readiness: Readiness,
    clock: Clock,
    health: HealthReporter,
    link: Option<RegistryLink>,
    age: AgeCheck,
    /// The registry's clock when it last answered.
    registry_clock: Option<(DateTime<Utc>, Instant)>,
}

/// What a round in a cell found.
#[derive(Debug, Default)]
struct CopyState {
    lag_seconds: f64,
    is_connected: bool,
    /// What is wrong, if anything.
    trouble: Option<String>,
    /// Whether the cell can never catch up.
    is_broken: bool,
    /// What shows that the registry is older than the copy.
    older: Option<String>,
}

/// What the registry says of this cell.
#[derive(Debug)]
struct BeatAnswer {
    /// The sign of life; `None` when the registry has forgotten the last one.
    beat: Option<DateTime<Utc>>,
    seen: CellOverview,
}

// === impl RegistryWatch ===

impl RegistryWatch {
    /// `url` is `REGISTRY_URL`.
    pub fn new(
        database: Database,
        url: Option<Secret>,
        metrics: CellMetrics,
        readiness: Readiness,
        clock: Clock,
    ) -> Self {
        let health = HealthReporter::log_only(COMPONENT, HEALTH);
        let (link, registry_clock, age) = (None, None, AgeCheck::default());
        Self { database, url, metrics, readiness, clock, health, link, age, registry_clock }
    }

    /// Runs until `stop` is cancelled.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                pause = self.round() => pause,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn round(&mut self) -> Duration {
        let role = match membership::role(self.database.pool()).await {
            Ok(role) => role,
            // Postgres has reporters of its own.
            Err(Outage(_)) => return PERIOD,
        };
        match role {
            CellRole::Alone => {
                self.show_no_cell();
                self.metrics.forget_cells();
                IDLE_PERIOD
            }
            CellRole::Registry => {
                self.show_no_cell();
                self.show_cells().await;
                PERIOD
            }
            CellRole::Cell(membership) => {
                self.metrics.forget_cells();
                let state = match timeout(ROUND_TIMEOUT, self.look(&membership)).await {
                    Ok(Ok(state)) => state,
                    Ok(Err(Outage(_))) => return PERIOD,
                    Err(_) => {
                        self.link = None;
                        let trouble = Some("the registry did not answer in time".to_owned());
                        let older = membership.older_registry.clone().or_else(|| self.age.shown());
                        let lag_seconds = self.age(None);
                        CopyState { lag_seconds, trouble, older, ..CopyState::default() }
                    }
                };
                self.report(&membership, state);
                PERIOD
            }
        }
    }

    fn show_no_cell(&mut self) {
        self.metrics.show_no_cell();
        self.link = None;
        self.readiness.warn(COMPONENT, None);
    }

    async fn show_cells(&self) {
        let Ok(cells) = registry_side::overview(self.database.pool()).await else { return };
        self.metrics.forget_cells();
        let mut broken = Vec::new();
        for cell in &cells {
            let fault = cell.slot_fault();
            broken.extend(fault.map(|why| format!("cell {}: {why}", cell.cell_id)));
            let figures = CellFigures {
                seen_seconds: cell.seen_seconds,
                wal_held_bytes: cell.held_bytes,
                lag_bytes: cell.lag_bytes,
                slot_ok: fault.is_none(),
            };
            self.metrics.show_cell_of_registry(&cell.cell_id, figures);
        }
        let why = format!("{}; the cell must leave and join again", broken.join("; "));
        self.readiness.warn(COMPONENT, (!broken.is_empty()).then_some(why));
    }

    /// One round in a cell. An error is one of the cell's own Postgres.
    async fn look(&mut self, membership: &Membership) -> Result<CopyState, Outage> {
        let sent_at = Instant::now();
        let pool = self.database.pool().clone();
        let known = cell_side::echo(&pool, &membership.cell_id).await?;
        let answer = self.beat(membership, known).await;
        let mut echo = known;
        let beat = answer.as_ref().ok().and_then(|answer| answer.beat);
        while beat.is_some() && echo < beat && sent_at.elapsed() < ECHO_PATIENCE {
            sleep(ECHO_PERIOD).await;
            echo = cell_side::echo(&pool, &membership.cell_id).await?;
        }
        let subscription = cell_side::subscription(&pool, &membership.subscription).await?;
        let mut state = CopyState { lag_seconds: self.age(echo), ..CopyState::default() };
        state.older.clone_from(&membership.older_registry);
        let is_running = subscription.as_ref().is_some_and(|state| state.is_running);
        match answer {
            Ok(BeatAnswer { beat, seen }) => {
                let is_current = beat.is_some() && echo >= beat;
                if is_current {
                    state.lag_seconds = sent_at.elapsed().as_secs_f64();
                }
                if state.older.is_none() {
                    state.older = match seen.is_older_than(known) {
                        Some(newer) => Some(self.age.forgot_life(&newer)),
                        None => self.compare(is_current, seen.lag_bytes).await,
                    };
                }
                state.is_connected = is_running;
                if let Some(fault) = seen.slot_fault() {
                    state.is_broken = true;
                    state.trouble = Some(format!(
                        "{fault}: run `sluice cell leave --force`, then `sluice cell join --replace`"
                    ));
                } else if !is_running {
                    let why =
                        "the subscription does not run: the log of the cell's Postgres says why";
                    state.trouble = Some(why.to_owned());
                } else if subscription.is_some_and(|state| state.copying > 0) {
                    state.trouble =
                        Some("the first copy of the registry is not complete".to_owned());
                }
            }
            Err(Outage(why)) => {
                state.older = state.older.or_else(|| self.age.shown());
                state.trouble = Some(why);
            }
        }
        Ok(state)
    }

    /// Writes the sign of life, and reads what the registry says of this cell. `echo` is the last one that
    /// came back.
    async fn beat(
        &mut self,
        membership: &Membership,
        echo: Option<DateTime<Utc>>,
    ) -> Result<BeatAnswer, Outage> {
        let Some(url) = &self.url else {
            return Err(Outage("REGISTRY_URL is not set, so the lag is not measured".to_owned()));
        };
        let mut link = if let Some(link) = self.link.take() {
            link
        } else {
            self.age.connected();
            RegistryLink::open_registry(url).await?
        };
        let beat = link.beat(&membership.cell_id, echo).await?;
        let Some(seen) = link.overview_of(&membership.cell_id).await? else {
            return Err(Outage(format!(
                "the registry does not know cell {}: run `sluice cell leave --force`, then join again",
                membership.cell_id
            )));
        };
        if let Some(beat) = beat {
            self.registry_clock = Some((beat, Instant::now()));
        }
        self.link = Some(link);
        Ok(BeatAnswer { beat, seen })
    }

    async fn compare(&mut self, is_current: bool, lag_bytes: i64) -> Option<String> {
        let url = self.url.as_ref()?;
        self.age.look(&self.database, url, CopyArrival { is_current, lag_bytes }).await
    }

    /// How old the copy is, by the registry's clock as far as it is known.
    fn age(&self, echo: Option<DateTime<Utc>>) -> f64 {
        let own = || (self.clock)();
        let now = self.registry_clock.map_or_else(own, |(clock, at)| {
            Timestamp::from(clock).plus_seconds(i64::try_from(at.elapsed().as_secs()).unwrap_or(0))
        });
        let last = echo.or(self.registry_clock.map(|(clock, _)| clock));
        last.map_or(0.0, |last| now.seconds_since(Timestamp::from(last)).max(0.0))
    }

    fn report(&mut self, membership: &Membership, state: CopyState) {
        let CopyState { lag_seconds, older, trouble, .. } = state;
        self.metrics.show_cell(lag_seconds, state.is_connected, older.is_some());
        let is_late = lag_seconds > LAG_LIMIT;
        let now = Instant::now().into_std();
        if !is_late && !state.is_broken && older.is_none() {
            self.health.worked(now);
            return self.readiness.warn(COMPONENT, None);
        }
        let registry = &membership.registry;
        let older = older.map(|why| older_registry(registry, &why));
        let behind = (is_late || state.is_broken).then(|| {
            let why = trouble.unwrap_or_else(|| "changes arrive late".to_owned());
            format!("the copy of the registry {registry} is {lag_seconds:.0} s behind: {why}")
        });
        let why = older.into_iter().chain(behind).collect::<Vec<_>>().join("; ");
        let why =
            format!("{why}; this cell decides by its copy, and does not know later revocations");
        self.health.failed(&why, now);
        self.readiness.warn(COMPONENT, Some(why));
    }
}
