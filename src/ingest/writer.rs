//! The last step: one transaction for each batch, retried until it commits; only then the
//! acknowledgements.
//!
//! It authorizes no message. Batches are written one after the other, so acknowledgements keep the
//! order of arrival.

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::retry::Retry;
use crate::domain::batch::{Batch, Receipt};
use crate::domain::ports::{Acknowledge, ForwardSignal, RefusalReporter, Sink};
use crate::domain::time::Clock;
use crate::telemetry::ingest::IngestMetrics;

/// A batch for the writer, with its permit.
#[derive(Debug)]
pub struct PreparedBatch {
    /// The batch to store.
    pub batch: Batch,
    /// Released after the commit.
    pub permit: OwnedSemaphorePermit,
}

/// Writes batches.
pub struct Writer<S, A> {
    sink: S,
    acks: A,
    retry: Retry,
    /// `None`: refusals are reported to no device.
    reporter: Option<Box<dyn RefusalReporter>>,
    /// `None`: there are no links.
    forwarded: Option<Box<dyn ForwardSignal>>,
    metrics: IngestMetrics,
    clock: Clock,
}

// === impl Writer ===

impl<S: Sink, A: Acknowledge> Writer<S, A> {
    /// A writer into `sink`.
    pub fn new(sink: S, acks: A, retry: Retry, metrics: IngestMetrics, clock: Clock) -> Self {
        Self { sink, acks, retry, reporter: None, forwarded: None, metrics, clock }
    }

    /// The writer that reports the refused messages of each committed batch.
    #[must_use]
    pub fn reporting_to(self, reporter: Option<Box<dyn RefusalReporter>>) -> Self {
        Self { reporter, ..self }
    }

    /// The writer that wakes the senders of links after each commit with messages for them.
    #[must_use]
    pub fn waking(self, forwarded: Option<Box<dyn ForwardSignal>>) -> Self {
        Self { forwarded, ..self }
    }

    /// Writes batches until the queue is closed or Postgres is given up. At its end it drops
    /// `acks`, which tells the session that no acknowledgement follows.
    pub async fn run(mut self, mut batches: mpsc::Receiver<PreparedBatch>) {
        while let Some(PreparedBatch { mut batch, permit }) = batches.recv().await {
            let Some(receipt) = self.commit(&mut batch).await else {
                tracing::warn!(
                    messages = batch.deliveries.len(),
                    "batch not stored: Postgres did not answer before the stop; the broker keeps its messages"
                );
                return;
            };
            drop(permit);
            self.count(&batch, &receipt);
            let tokens: Vec<_> =
                batch.deliveries.iter_mut().filter_map(|delivery| delivery.ack.take()).collect();
            if !tokens.is_empty() {
                self.acks.acknowledge(tokens).await;
            }
            if let Some(forwarded) = &mut self.forwarded
                && !batch.forwards.is_empty()
            {
                forwarded.queued(&batch.forwards);
            }
            if let Some(reporter) = &mut self.reporter {
                reporter.report(&batch);
            }
        }
    }

    /// Retries until the batch is stored; `None` means given up.
    async fn commit(&mut self, batch: &mut Batch) -> Option<Receipt> {
        let started = (self.clock)();
        loop {
            match self.retry.wait_for(self.sink.commit(batch)).await? {
                Ok(receipt) => {
                    self.retry.reset();
                    let done = (self.clock)();
                    self.metrics
                        .plain
                        .batch_write_seconds
                        .observe(done.seconds_since(started).max(0.0));
                    if let Some(oldest) = batch.deliveries.first() {
                        let latency = done.seconds_since(oldest.received_at).max(0.0);
                        self.metrics.plain.store_latency_seconds.observe(latency);
                    }
                    return Some(receipt);
                }
                Err(outage) => {
                    if !self.retry.pause(&outage).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Counts the outcome of each message, after the commit.
    #[expect(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 messages")]
    fn count(&self, batch: &Batch, receipt: &Receipt) {
        if !batch.deliveries.is_empty() {
            self.metrics.plain.batch_rows.observe(batch.deliveries.len() as f64);
        }
        self.metrics.stored.inc_by(receipt.stored);
        self.metrics.duplicate.inc_by(receipt.duplicates + batch.known_duplicates);
        self.metrics.ignored.inc_by(batch.ignored);
        self.metrics.plain.quarantine_sampled_out.inc_by(batch.sampled_out);
        for (link, outcome) in &batch.from_links {
            self.metrics.links.count(link, *outcome, 1);
        }
        for refused in &batch.refusal_counts {
            let count = u64::try_from(refused.count).unwrap_or(0);
            self.metrics.quarantined.inc_by(count);
            self.metrics.refused(refused.reason).inc_by(count);
        }
    }
}
