//! The task that works on replay jobs: it takes a job for one step, checks the next messages,
//! records what it did, and takes the job that waits longest.
//!
//! Jobs of different tenants take turns. A step is small and paced, so that ingest keeps its time. A
//! daemon that is killed loses nothing: another one, or the same after its restart, continues from the
//! last recorded step; a message of that step that was stored is found and not stored again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::replay::{WRITER, count, forward_plan};
use crate::clock;
use crate::config::Config;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::ingest::replay::{Replayed, Replayer};
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::batch::sink::PgSink;
use crate::store::connection::database::Database;
use crate::store::quarantine::replay_job::ReplayStage;
use crate::store::quarantine::replay_turn::{self, ReplayTurn, TurnOutcome};
use crate::store::reads::quarantine::{self as events, Record};
use crate::store::registry::directory::PgDirectory;
use crate::telemetry::ingest::IngestMetrics;
use crate::telemetry::replays::ReplayMetrics;

/// Messages of one step: each may have a payload of `QUARANTINE_PAYLOAD_MAX` bytes, and ingest waits
/// while they are decided.
const STEP: u32 = 50;

/// A message that so many replays have refused is left out, unless it is selected by its identifier:
/// a program that replays everything each hour does not try it each hour.
pub const ATTEMPTS_MAX: i32 = 10;

/// How often a daemon looks for jobs that another process has ordered.
const POLL: Duration = Duration::from_secs(2);

/// How often the number of stalled jobs is counted, in polls.
const COUNT_EVERY: u32 = 8;

/// Pauses after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long a step may last once the daemon stops, and then the note that others may continue.
const END_PATIENCE: Duration = Duration::from_millis(500);

const TEXTS: HealthTexts = HealthTexts {
    failed: "looking for replays of the quarantine, or a step of one, failed",
    action: "retrying; no message is lost and none is stored twice",
    recovered: "replays of the quarantine can make progress again",
};

/// Wakes the task: a job was ordered. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReplaySignal(Arc<Notify>);

/// The task.
#[derive(Debug)]
pub struct ReplayWorker {
    database: Database,
    ingest: IngestConfig,
    links: Option<PathBuf>,
    /// Counters of replayed messages.
    messages: IngestMetrics,
    metrics: ReplayMetrics,
    clock: Clock,
    signal: ReplaySignal,
    id: Uuid,
    /// The sink of the last step, with its stage.
    sink: Option<(ReplayStage, PgSink)>,
    polls: u32,
}

// === impl ReplaySignal ===

impl ReplaySignal {
    /// Wakes the task.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

// === impl ReplayWorker ===

impl ReplayWorker {
    /// The task of a daemon with these settings.
    pub fn new(
        config: &Config,
        database: &Database,
        messages: IngestMetrics,
        metrics: ReplayMetrics,
        signal: ReplaySignal,
    ) -> Self {
        Self {
            database: database.clone(),
            ingest: config.ingest.clone(),
            links: config.links.path.clone(),
            messages,
            metrics,
            clock: clock::now,
            signal,
            id: Uuid::new_v4(),
            sink: None,
            polls: 0,
        }
    }

    /// Works until `stop`, then gives its jobs back.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut health = HealthReporter::log_only("replays", TEXTS);
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let stepped = tokio::select! {
                stepped = self.step() => stepped,
                () = stop_is_due(&stop) => break,
            };
            let pause = match stepped {
                Ok(checked) => {
                    health.worked(Instant::now());
                    backoff.reset();
                    checked.map(|messages| self.pace(messages, begun.elapsed()))
                }
                Err(outage) => {
                    health.failed(&outage.0, Instant::now());
                    self.sink = None;
                    Some(backoff.next_pause())
                }
            };
            self.rest(pause, &stop).await;
        }
        let release = replay_turn::release(self.database.pool(), self.id);
        if !matches!(tokio::time::timeout(END_PATIENCE, release).await, Ok(Ok(()))) {
            tracing::info!(
                "the replays of the quarantine were not given back; another daemon continues them in ten seconds"
            );
        }
    }

    /// Waits between two steps, or for a job.
    async fn rest(&self, pause: Option<Duration>, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause.unwrap_or(POLL)) => {}
            () = self.signal.0.notified(), if pause.is_none() => {}
        }
    }

    /// The pause after a step with so many messages: to keep the rate, and never shorter than the
    /// step, so that ingest has its turn while Postgres or the processor is busy.
    fn pace(&self, messages: u32, step: Duration) -> Duration {
        let due = Duration::from_secs(1) * messages / self.ingest.quarantine_replay_rps.max(1);
        due.saturating_sub(step).max(step)
    }

    /// Does one step of one job. Returns the number of messages; `None`: there is no job.
    async fn step(&mut self) -> Result<Option<u32>, Outage> {
        let pool = self.database.pool().clone();
        let turn = replay_turn::claim(&pool, self.id).await?;
        self.metrics.running.set(i64::from(turn.is_some()));
        if self.polls.is_multiple_of(COUNT_EVERY) || turn.is_none() {
            self.metrics.stalled.set(replay_turn::stalled(&pool).await?);
        }
        self.polls = self.polls.wrapping_add(1);
        let Some(turn) = turn else { return Ok(None) };
        match self.work(&turn).await {
            Ok(messages) => Ok(Some(messages)),
            Err(outage) => {
                // Postgres may be the cause; then the job shows its age alone.
                replay_turn::note_trouble(&pool, turn.id, &outage.0).await?;
                Err(outage)
            }
        }
    }

    async fn work(&mut self, turn: &ReplayTurn) -> Result<u32, Outage> {
        let pool = self.database.pool().clone();
        let mut outcome = TurnOutcome { tally: turn.tally.clone(), ..TurnOutcome::default() };
        if outcome.tally.total.is_none() {
            outcome.tally.total = Some(replay_turn::total(&pool, &turn.filter).await?);
        }
        let page = events::fetch(&pool, &turn.filter, turn.after, STEP).await?;
        outcome.is_last = page.len() < STEP as usize;
        outcome.after = page.last().map(|last| last.summary.place()).or(turn.after);
        let messages = u32::try_from(page.len()).unwrap_or(STEP);
        let counted = self.check(turn, page, &mut outcome).await?;
        if replay_turn::record(&pool, self.id, turn, &outcome, (self.clock)()).await? {
            self.metrics.messages.inc_by(u64::from(messages));
            for replayed in &counted {
                count(&self.messages, replayed);
            }
            if outcome.is_last {
                let (job, stage) = (turn.id, turn.stage.label());
                tracing::info!(%job, stage, messages = outcome.tally.done, "a replay of the quarantine is done");
            }
        }
        Ok(messages)
    }

    /// Decides the messages of a step. Returns the outcomes that count as messages.
    async fn check(
        &mut self,
        turn: &ReplayTurn,
        page: Vec<Record>,
        outcome: &mut TurnOutcome,
    ) -> Result<Vec<Replayed>, Outage> {
        let is_dry = turn.stage == ReplayStage::DryRun;
        let by_id = !turn.filter.ids.is_empty();
        let known: Vec<Option<Replayed>> =
            page.iter().map(|record| known_outcome(record, by_id)).collect();
        let open = page.iter().zip(&known).filter(|(_, known)| known.is_none());
        let deliveries = open.map(|(record, _)| record.delivery()).collect();
        let mut spine = self.replayer(turn.stage)?;
        let mut decided: VecDeque<Replayed> = spine.replay_batch(deliveries).await?.into();
        let mut counted = Vec::new();
        for (record, known) in page.iter().zip(known) {
            let is_new = known.is_none();
            let Some(replayed) = known.or_else(|| decided.pop_front()) else { continue };
            let reason = match &replayed {
                Replayed::Refused(refusal) => Some(refusal.reason.label()),
                _ => None,
            };
            outcome.tally.add(spine.label(&replayed), reason, record.summary.id);
            if is_new && !is_dry {
                let place = record.summary.place();
                if reason.is_some() { &mut outcome.refused } else { &mut outcome.accepted }
                    .push(place);
                counted.push(replayed);
            }
        }
        self.sink = Some((turn.stage, spine.into_sink()));
        Ok(counted)
    }

    /// A replayer for one step: it reads the registry and the links file again, so that a change
    /// counts from the next step on.
    fn replayer(&mut self, stage: ReplayStage) -> Result<Replayer<PgDirectory, PgSink>, Outage> {
        let sink = self.sink.take().filter(|(of, _)| *of == stage).map(|(_, sink)| sink);
        let sink = sink.unwrap_or_else(|| match stage {
            ReplayStage::DryRun => self.database.rehearsal(),
            ReplayStage::Replay => self.database.sink().of_client(WRITER),
        });
        let mut replayer = Replayer::new(
            &self.ingest,
            self.database.directory(),
            sink,
            self.messages.clone(),
            self.clock,
            stage == ReplayStage::DryRun,
        );
        replayer.forwarding(forward_plan(self.links.as_deref())?);
        Ok(replayer)
    }
}

// === private helpers ===

/// Resolves when a step has had its time after the stop. Usually it ends before, and what it stored
/// is then recorded.
async fn stop_is_due(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(END_PATIENCE).await;
}

/// The outcome of a message that is not decided again.
fn known_outcome(record: &Record, is_chosen: bool) -> Option<Replayed> {
    let event = &record.summary;
    if event.replayed_at.is_some() {
        Some(Replayed::Before)
    } else if event.replay_attempts >= ATTEMPTS_MAX && !is_chosen {
        Some(Replayed::LeftOut)
    } else {
        None
    }
}
