//! Sends a message from quarantine down the same road again: parse, ask, judge, store.
//!
//! One at a time, and never back into quarantine: a message that is refused again stays where it is.

use super::authorize::Authorizer;
use super::grants::Grants;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::Batch;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage, Sink};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Clock;
use crate::telemetry::ingest::IngestMetrics;

/// The road, as far as a replay needs it.
pub struct Replayer<D, S> {
    authorizer: Authorizer<D>,
    sink: S,
    is_dry: bool,
}

/// What became of a replay, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is accepted, and stored unless this was a dry run.
    Accepted,
    /// It is in the table already.
    Duplicate,
    /// It is the platform's own voice: nothing to store.
    Ignored,
    /// It was replayed before, and is not judged again.
    Before,
    /// It is refused, perhaps for another reason than before.
    Refused(Refusal),
}

// === impl Replayer ===

impl<D: Directory, S: Sink> Replayer<D, S> {
    /// It decides as the daemon with these settings would; a dry one stores nothing. Its metrics are its own: these messages
    /// were counted when they first came.
    pub fn new(
        config: &IngestConfig,
        directory: D,
        sink: S,
        metrics: IngestMetrics,
        clock: Clock,
        is_dry: bool,
    ) -> Self {
        // The device was charged for these messages when it sent them. Whether to register an unknown one is for the
        // operator to decide, who is right here.
        let config = IngestConfig { rate_limit: None, auto_provision: false, ..config.clone() };
        let mut authorizer = Authorizer::new(directory, &config, Grants::new(&config), metrics, clock);
        authorizer.keep_all_refused();
        Self { authorizer, sink, is_dry }
    }

    /// Judges a message anew, and stores it when it is accepted.
    pub async fn replay(&mut self, delivery: Delivery) -> Result<Replayed, Outage> {
        let (judged, batch) = judge(&mut self.authorizer, delivery).await?;
        if judged == Replayed::Accepted { store(&mut self.sink, batch).await } else { Ok(judged) }
    }

    /// What became of a message, in a word or two.
    pub const fn label(&self, replayed: &Replayed) -> &'static str {
        match replayed {
            Replayed::Accepted if self.is_dry => "would be stored",
            Replayed::Accepted => "stored",
            Replayed::Duplicate => "stored before",
            Replayed::Ignored => "ignored",
            Replayed::Before => "replayed before",
            Replayed::Refused(_) => "refused",
        }
    }
}

// === private helpers ===

/// The batch holds the message, ready to be stored, when it is accepted.
async fn judge<D: Directory>(authorizer: &mut Authorizer<D>, delivery: Delivery) -> Result<(Replayed, Batch), Outage> {
    let deliveries = vec![delivery];
    let outcomes: Vec<_> = authorizer.parse(&deliveries).collect();
    let answers = authorizer.ask(&outcomes).await?;
    let mut batch = authorizer.judge(deliveries, outcomes, answers);
    // The refusal was counted and kept when it first happened.
    let refused = std::mem::take(&mut batch.quarantined).pop();
    batch.refusal_counts.clear();
    let verdict = match refused {
        Some(record) => Replayed::Refused(record.refusal),
        None if batch.ignored > 0 => Replayed::Ignored,
        None => Replayed::Accepted,
    };
    Ok((verdict, batch))
}

/// Stores what [`judge`] accepted.
async fn store<S: Sink>(sink: &mut S, mut batch: Batch) -> Result<Replayed, Outage> {
    let receipt = sink.commit(&mut batch).await?;
    Ok(match batch.refused_again.pop() {
        Some(why) => Replayed::Refused(Refusal::new(Reason::StoreRejected, why)),
        None if receipt.duplicates > 0 => Replayed::Duplicate,
        None => Replayed::Accepted,
    })
}
