//! The spine: deliveries of the broker become batches, and batches become rows.
//!
//! In the order of a message: [`parse`] reads its fields, [`publisher`] verifies who published it, [`authorize`] decides whether its sender
//! is accepted, with the cached registry answers of [`grants`]; [`batching`] decides when a batch
//! is sent, [`writer`] stores it and acknowledges, [`retry`] waits for Postgres. [`forwarding`]
//! adds what links forward, [`live_feed`] shows decisions to those who listen, [`changes`] names what
//! the registry changed. With `WRITER_LANES` [`lanes`] divides the devices among several spines, by [`lane_map`], and
//! [`ack_order`] keeps their acknowledgements in order. Around it:
//! [`explain`] shows each check of one message, [`replay`] sends a quarantined message through the
//! same steps. [`crate::domain::quarantine_sampling`] limits the rows of a flood of refused
//! messages.
//!
//! It uses broker and store only through the traits of [`crate::domain::ports`].
//!
//! # The names of a message on its way
//!
//! | step | type | what it adds |
//! |---|---|---|
//! | the session read it from the socket | [`Delivery`] | topic, payload, times, the right to acknowledge |
//! | parsed | [`Candidate`](candidate::Candidate) | the [`ParseOutcome`](parse::parsed::ParseOutcome): ignored, refused, or the fields ([`Parsed`](parse::parsed::Parsed)) |
//! | the registry was queried | the same | the [`Grant`](grants::Grant): the cached registry answer for its sender |
//! | accepted | [`Reading`](crate::domain::message::Reading), [`ShadowReport`](crate::domain::message::ShadowReport) or [`CommandAck`](crate::domain::message::CommandAck) | the row to store; its [`Authentication`](authorize::judge::Authentication) says by which proof |
//! | refused | [`Quarantined`](crate::domain::batch::Quarantined), or [`Suspect`](crate::domain::batch::Suspect) until the store has compared it with earlier decisions | the [`Refusal`](crate::domain::refusal::Refusal): reason and detail |
//! | in a batch | [`Batch`] | all rows of one transaction, and the deliveries, to which rows refer by index (`origin`) |
//! | sent to the writer | [`PreparedBatch`] | the permit that bounds the batches in flight |
//! | committed | [`Receipt`](crate::domain::batch::Receipt) | how many rows were new |
//! | acknowledged | [`AckToken`](crate::domain::message::AckToken) | what the session writes to the broker |

pub(crate) mod ack_order;
pub(crate) mod authorize;
pub(crate) mod batching;
pub(crate) mod candidate;
pub(crate) mod changes;
pub(crate) mod explain;
pub(crate) mod forwarding;
pub(crate) mod grants;
pub(crate) mod lane_map;
pub(crate) mod lanes;
pub(crate) mod live_feed;
pub mod parse;
pub(crate) mod publisher;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::yield_now;

use self::authorize::Authorizer;
use self::batching::{FlushPlan, Gathering};
use self::changes::Changes;
use self::lanes::{Deliveries, next_chunk};
use self::retry::Retry;
use self::writer::PreparedBatch;
use crate::config::sections::ingest::BATCHES_IN_FLIGHT;
use crate::domain::batch::Batch;
use crate::domain::message::Delivery;
use crate::domain::ports::Directory;
use crate::domain::time::{Clock, MICROS_PER_SECOND};
use crate::telemetry::broker::BrokerMetrics;

/// Number of messages between two yields: parsing a batch takes milliseconds, in which Postgres may
/// answer and would idle.
const YIELD_EVERY: usize = 100;

/// First half of the spine: gathers, parses and authorizes. The second half is the [`writer`].
pub struct Spine<D> {
    authorizer: Authorizer<D>,
    gathering: Gathering,
    waiting: Vec<Delivery>,
    permits: Arc<Semaphore>,
    retry: Retry,
    broker_metrics: BrokerMetrics,
    clock: Clock,
}

/// Ends of the spine's queues.
pub struct SpineQueues {
    /// From the broker, in chunks.
    pub deliveries: Deliveries,
    /// From the links, in chunks. A queue of its own: no message of a device waits behind a flood of a
    /// link.
    pub from_links: mpsc::Receiver<Vec<Delivery>>,
    /// From the registry.
    pub changes: Changes,
    /// To the writer; its capacity is [`BATCHES_IN_FLIGHT`].
    pub batches: mpsc::Sender<PreparedBatch>,
}

// === impl Spine ===

impl<D: Directory> Spine<D> {
    /// A spine that gathers batches as `gathering` says.
    pub fn new(
        authorizer: Authorizer<D>,
        gathering: Gathering,
        retry: Retry,
        broker_metrics: BrokerMetrics,
        clock: Clock,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT as usize));
        Self { authorizer, gathering, waiting: Vec::new(), permits, retry, broker_metrics, clock }
    }

    /// Runs until `deliveries` is closed and every message is sent to the writer, or Postgres is
    /// given up. Registry changes come first, so that a revocation applies to the very next batch.
    pub async fn run(mut self, mut queues: SpineQueues) {
        loop {
            let plan = self.gathering.plan(Instant::now());
            let wake_at = self.wake_at(plan);
            tokio::select! {
                biased;
                change = queues.changes.next() => self.authorizer.forget(&change),
                permits = acquire(&self.permits, plan) => {
                    let Some(permit) = permits else { return };
                    if !self.flush(permit, &mut queues).await {
                        return;
                    }
                }
                delivered = next_chunk(queues.deliveries.next(), &mut queues.from_links), if self.gathering.has_room() => match delivered {
                    Some(deliveries) => self.gather(deliveries),
                    None => break,
                },
                () = tokio::time::sleep_until(wake_at.into()) => self.write_sightings_if_due(&mut queues).await,
            }
        }
        self.finish(&mut queues).await;
    }

    fn gather(&mut self, deliveries: Vec<Delivery>) {
        self.broker_metrics.queue_depth.sub(i64::try_from(deliveries.len()).unwrap_or(0));
        let bytes =
            deliveries.iter().map(|delivery| delivery.topic.len() + delivery.payload.len()).sum();
        self.gathering.arrived(deliveries.len(), bytes, Instant::now());
        if self.waiting.is_empty() {
            self.waiting = deliveries;
        } else {
            self.waiting.extend(deliveries);
        }
    }

    /// Sends one batch of the waiting messages to the writer. False means give up.
    async fn flush(&mut self, permit: OwnedSemaphorePermit, queues: &mut SpineQueues) -> bool {
        let taken = self.gathering.take(Instant::now());
        let rest = self.waiting.split_off(taken.min(self.waiting.len()));
        let deliveries = std::mem::replace(&mut self.waiting, rest);
        let Some(batch) = self.prepare(deliveries, &mut queues.changes).await else { return false };
        queues.batches.send(PreparedBatch { batch, permit }).await.is_ok()
    }

    /// Parses, queries the registry, and authorizes; retries while the registry does not answer.
    /// Changes that arrive before the query apply to this batch.
    async fn prepare(&mut self, deliveries: Vec<Delivery>, changes: &mut Changes) -> Option<Batch> {
        let mut candidates = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            candidates.push(self.authorizer.parse(delivery));
            if candidates.len().is_multiple_of(YIELD_EVERY) {
                yield_now().await;
            }
        }
        while let Some(change) = changes.waiting() {
            self.authorizer.forget(&change);
        }
        loop {
            match self.retry.wait_for(self.authorizer.query_registry(&mut candidates)).await? {
                Ok(()) => break,
                Err(outage) => {
                    if !self.retry.pause(&outage).await {
                        return None;
                    }
                }
            }
        }
        self.retry.reset();
        Some(self.authorizer.judge(candidates))
    }

    /// Sends due `last_seen_at` rows when no message carries them.
    async fn write_sightings_if_due(&mut self, queues: &mut SpineQueues) {
        if self.authorizer.sightings_due().is_some_and(|due| due <= (self.clock)())
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
            && let Some(batch) = self.prepare(Vec::new(), &mut queues.changes).await
        {
            // A closed queue is noticed at the next message.
            let _ = queues.batches.send(PreparedBatch { batch, permit }).await;
        }
    }

    /// `deliveries` is closed: sends everything that is left.
    async fn finish(mut self, queues: &mut SpineQueues) {
        while !self.waiting.is_empty() {
            let Some(permit) = acquire(&self.permits, FlushPlan::FlushNow).await else { return };
            if !self.flush(permit, queues).await {
                return;
            }
        }
        let batch = self.authorizer.last_sightings();
        if let Some(permit) = acquire(&self.permits, FlushPlan::FlushNow).await {
            // If the writer has ended, it gave up; only the freshness of `last_seen_at` is lost.
            let _ = queues.batches.send(PreparedBatch { batch, permit }).await;
        }
    }

    /// When to wake although nothing arrives.
    fn wake_at(&self, plan: FlushPlan) -> Instant {
        const IDLE_WAIT: Duration = Duration::from_hours(1);
        let now = Instant::now();
        let sightings = self.authorizer.sightings_due().map_or(IDLE_WAIT, |due| {
            let micros = due
                .micros()
                .saturating_sub((self.clock)().micros())
                .clamp(0, 10 * MICROS_PER_SECOND);
            // A minimum: while the writer is busy, a due row waits for its batch.
            Duration::from_micros(micros.unsigned_abs()).max(Duration::from_millis(20))
        });
        match plan {
            FlushPlan::WaitUntil(due) => due.min(now + sightings),
            _ => now + sightings,
        }
    }
}

/// Waits for a permit of the writer as `plan` says; never ready while there is nothing to send.
/// `None` means closed.
async fn acquire(permits: &Arc<Semaphore>, plan: FlushPlan) -> Option<OwnedSemaphorePermit> {
    match plan {
        FlushPlan::Idle | FlushPlan::WaitUntil(_) => std::future::pending().await,
        FlushPlan::FlushNow => Arc::clone(permits).acquire_owned().await.ok(),
        FlushPlan::FlushWhenIdle => {
            // If all permits are free, nothing is being written; all but one are released at once.
            let mut all = Arc::clone(permits).acquire_many_owned(BATCHES_IN_FLIGHT).await.ok()?;
            all.split(1)
        }
    }
}
