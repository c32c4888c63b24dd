//! The last step: one transaction for each batch, tried until it holds; then, and only then, the acknowledgements.
//!
//! It judges no message. Batches are written one after the other, so acknowledgements keep the order of arrival.

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::retry::Retry;
use crate::domain::batch::{Batch, Receipt};
use crate::domain::ports::{Acknowledge, Sink};
use crate::domain::time::Clock;
use crate::telemetry::ingest::IngestMetrics;

/// A batch on its way to the writer, and the place it holds until it is committed.
#[derive(Debug)]
pub struct PreparedBatch {
    /// What is to be stored.
    pub batch: Batch,
    /// Given back when it is.
    pub place: OwnedSemaphorePermit,
}

/// Writes batches.
pub struct Writer<S, A> {
    sink: S,
    acks: A,
    patience: Retry,
    metrics: IngestMetrics,
    clock: Clock,
}

// === impl Writer ===

impl<S: Sink, A: Acknowledge> Writer<S, A> {
    /// A writer into this sink.
    pub fn new(sink: S, acks: A, patience: Retry, metrics: IngestMetrics, clock: Clock) -> Self {
        Self { sink, acks, patience, metrics, clock }
    }

    /// Writes all that comes, until nothing more can come or patience ends. Dropping the acknowledgements at its end
    /// tells the session that the last one is due.
    pub async fn run(mut self, mut batches: mpsc::Receiver<PreparedBatch>) {
        while let Some(PreparedBatch { mut batch, place }) = batches.recv().await {
            let Some(receipt) = self.commit(&mut batch).await else {
                tracing::warn!(messages = batch.deliveries.len(), "gave up on a batch; the broker keeps its messages");
                return;
            };
            drop(place);
            self.count(&batch, &receipt);
            let tokens: Vec<_> = batch.deliveries.into_iter().filter_map(|delivery| delivery.ack).collect();
            if !tokens.is_empty() {
                self.acks.acknowledge(tokens).await;
            }
        }
    }

    /// Tries until the batch is stored; none when it was told to give up.
    async fn commit(&mut self, batch: &mut Batch) -> Option<Receipt> {
        let started = (self.clock)();
        loop {
            match self.patience.wait_for(self.sink.commit(batch)).await? {
                Ok(receipt) => {
                    self.patience.rewarded();
                    let done = (self.clock)();
                    self.metrics.plain.batch_write_seconds.observe(done.seconds_since(started).max(0.0));
                    if let Some(oldest) = batch.deliveries.first() {
                        let latency = done.seconds_since(oldest.received_at).max(0.0);
                        self.metrics.plain.store_latency_seconds.observe(latency);
                    }
                    return Some(receipt);
                }
                Err(outage) => {
                    if !self.patience.pause(&outage).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Counts what became of each message, now that it is true.
    #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 messages")]
    fn count(&self, batch: &Batch, receipt: &Receipt) {
        if !batch.deliveries.is_empty() {
            self.metrics.plain.batch_rows.observe(batch.deliveries.len() as f64);
        }
        self.metrics.stored.inc_by(receipt.stored);
        self.metrics.duplicate.inc_by(receipt.duplicates + batch.known_duplicates);
        self.metrics.ignored.inc_by(batch.ignored);
        self.metrics.plain.quarantine_sampled_out.inc_by(batch.sampled_out);
        for refused in &batch.refusal_counts {
            let count = u64::try_from(refused.count).unwrap_or(0);
            self.metrics.quarantined.inc_by(count);
            self.metrics.refused(refused.reason).inc_by(count);
        }
    }
}
