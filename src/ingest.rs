//! The spine: what the broker delivers becomes batches, and batches become rows.
//!
//! Read on in the order of the road: [`parse`] (with [`envelope`], [`scan`], [`timestamp`]), [`authorize`] (with
//! [`regulars`], [`grants`], [`newcomers`], [`judge`], [`rate`]), [`batch`], [`writer`]; [`crate::domain::quarantine_sampling`] thins a
//! flood of refused ones. It meets the broker and the store only through the ports of [`crate::domain::ports`].

pub mod authorize;
pub mod batching;
pub mod explain;
pub mod grants;
pub mod parse;
pub mod replay;
pub mod retry;
pub mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::yield_now;

use self::authorize::Authorizer;
use self::batching::{FlushPlan, Gathering};
use self::retry::Retry;
use self::writer::PreparedBatch;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::batch::Batch;
use crate::domain::message::Delivery;
use crate::domain::ports::Directory;
use crate::domain::registry_change::RegistryChange;
use crate::domain::time::{Clock, MICROS_PER_SECOND};
use crate::telemetry::broker::BrokerMetrics;

/// After so many messages the other tasks get their turn: a batch takes milliseconds, in which Postgres may have answered and
/// would stand idle.
const BREATH: usize = 100;

/// The first half of the spine: gathers, parses, authorizes. The second half is the [`writer`].
pub struct Spine<D> {
    authorizer: Authorizer<D>,
    gathering: Gathering,
    waiting: Vec<Delivery>,
    places: Arc<Semaphore>,
    patience: Retry,
    broker_metrics: BrokerMetrics,
    clock: Clock,
}

/// The ends of the spine's queues.
pub struct SpineQueues {
    /// From the broker, many at once.
    pub deliveries: mpsc::Receiver<Vec<Delivery>>,
    /// From the registry.
    pub changes: mpsc::Receiver<RegistryChange>,
    /// To the writer; of [`BATCHES_IN_FLIGHT`] places.
    pub batches: mpsc::Sender<PreparedBatch>,
}

// === impl Spine ===

impl<D: Directory> Spine<D> {
    /// A spine that gathers batches of this size for this long.
    pub fn new(
        authorizer: Authorizer<D>,
        gathering: Gathering,
        patience: Retry,
        broker_metrics: BrokerMetrics,
        clock: Clock,
    ) -> Self {
        let places = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT as usize));
        Self { authorizer, gathering, waiting: Vec::new(), places, patience, broker_metrics, clock }
    }

    /// Runs until the broker's side has closed and everything is handed on, or patience ends. Changes of the registry
    /// come first, so that a revocation acts on the very next batch, however many messages wait.
    pub async fn run(mut self, mut road: SpineQueues) {
        loop {
            let plan = self.gathering.plan(Instant::now());
            let wake_at = self.wake_at(plan);
            tokio::select! {
                biased;
                Some(change) = road.changes.recv() => self.authorizer.forget(&change),
                places = acquire(&self.places, plan) => {
                    let Some(place) = places else { return };
                    if !self.flush(place, &mut road).await {
                        return;
                    }
                }
                delivered = road.deliveries.recv(), if self.gathering.has_room() => match delivered {
                    Some(deliveries) => self.gather(deliveries),
                    None => break,
                },
                () = tokio::time::sleep_until(wake_at.into()) => self.write_sightings_if_due(&mut road).await,
            }
        }
        self.finish(&mut road).await;
    }

    fn gather(&mut self, deliveries: Vec<Delivery>) {
        self.broker_metrics.queue_depth.sub(i64::try_from(deliveries.len()).unwrap_or(0));
        let bytes = deliveries.iter().map(|delivery| delivery.topic.len() + delivery.payload.len()).sum();
        self.gathering.arrived(deliveries.len(), bytes, Instant::now());
        if self.waiting.is_empty() {
            self.waiting = deliveries;
        } else {
            self.waiting.extend(deliveries);
        }
    }

    /// Makes one batch of what waits and hands it to the writer. False when it is time to give up.
    async fn flush(&mut self, place: OwnedSemaphorePermit, road: &mut SpineQueues) -> bool {
        let taken = self.gathering.take(Instant::now());
        let rest = self.waiting.split_off(taken.min(self.waiting.len()));
        let deliveries = std::mem::replace(&mut self.waiting, rest);
        let Some(batch) = self.prepare(deliveries, &mut road.changes).await else { return false };
        road.batches.send(PreparedBatch { batch, place }).await.is_ok()
    }

    /// Parse, ask, judge. Waits in place while the registry does not answer. What was heard of the registry by the time it is
    /// asked counts for the batch.
    async fn prepare(
        &mut self,
        deliveries: Vec<Delivery>,
        changes: &mut mpsc::Receiver<RegistryChange>,
    ) -> Option<Batch> {
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for part in deliveries.chunks(BREATH) {
            if !outcomes.is_empty() {
                yield_now().await;
            }
            outcomes.extend(self.authorizer.parse(part));
        }
        while let Ok(change) = changes.try_recv() {
            self.authorizer.forget(&change);
        }
        let answers = loop {
            match self.patience.wait_for(self.authorizer.ask(&outcomes)).await? {
                Ok(answers) => break answers,
                Err(outage) => {
                    if !self.patience.pause(&outage).await {
                        return None;
                    }
                }
            }
        };
        self.patience.rewarded();
        Some(self.authorizer.judge(deliveries, outcomes, answers))
    }

    /// On a quiet road nothing else would carry the sightings that have become due.
    async fn write_sightings_if_due(&mut self, road: &mut SpineQueues) {
        if self.authorizer.sightings_due().is_some_and(|due| due <= (self.clock)())
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Some(batch) = self.prepare(Vec::new(), &mut road.changes).await
        {
            // A closed queue is noticed at the next message.
            let _ = road.batches.send(PreparedBatch { batch, place }).await;
        }
    }

    /// The broker's side has closed: hands on everything that is left.
    async fn finish(mut self, road: &mut SpineQueues) {
        while !self.waiting.is_empty() {
            let Some(place) = acquire(&self.places, FlushPlan::GoNow).await else { return };
            if !self.flush(place, road).await {
                return;
            }
        }
        let batch = self.authorizer.last_sightings();
        if let Some(place) = acquire(&self.places, FlushPlan::GoNow).await {
            // The writer gone means it gave up; freshness of last_seen_at is all that is lost.
            let _ = road.batches.send(PreparedBatch { batch, place }).await;
        }
    }

    /// When to look again although nothing arrives.
    fn wake_at(&self, plan: FlushPlan) -> Instant {
        const AN_HOUR: Duration = Duration::from_hours(1);
        let now = Instant::now();
        let sightings = self.authorizer.sightings_due().map_or(AN_HOUR, |due| {
            let micros = due.micros().saturating_sub((self.clock)().micros()).clamp(0, 10 * MICROS_PER_SECOND);
            // At least a little: while the writer is busy, a due sighting waits for its batch.
            Duration::from_micros(micros.unsigned_abs()).max(Duration::from_millis(20))
        });
        match plan {
            FlushPlan::WaitUntil(due) => due.min(now + sightings),
            _ => now + sightings,
        }
    }
}

/// A place with the writer as the plan asks for it; never ready while there is nothing to send, none when it is closed.
async fn acquire(places: &Arc<Semaphore>, plan: FlushPlan) -> Option<OwnedSemaphorePermit> {
    match plan {
        FlushPlan::Rest | FlushPlan::WaitUntil(_) => std::future::pending().await,
        FlushPlan::GoNow => Arc::clone(places).acquire_owned().await.ok(),
        FlushPlan::GoWhenIdle => {
            // All places free means that nothing is being written; all but one are given back at once.
            let mut all = Arc::clone(places).acquire_many_owned(BATCHES_IN_FLIGHT).await.ok()?;
            all.split(1)
        }
    }
}
