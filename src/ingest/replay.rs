//! Sends a quarantined message through the same steps again: parse, query, authorize, store.
//!
//! One at a time, and never back into quarantine: a message that is refused again stays there.

use std::sync::Arc;

use tokio::sync::watch;

use super::authorize::Authorizer;
use super::grants::Grants;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::Batch;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage, Sink};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Clock;
use crate::telemetry::ingest::IngestMetrics;

/// The steps of the spine that a replay needs.
pub struct Replayer<D, S> {
    authorizer: Authorizer<D>,
    sink: S,
    is_dry: bool,
}

/// Outcome of a replay or of a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Accepted, and stored unless this is a dry run.
    Accepted,
    /// In the table already.
    Duplicate,
    /// Published by the platform itself: nothing to store.
    Ignored,
    /// Replayed before, so not processed again.
    Before,
    /// Refused, perhaps for another reason than before.
    Refused(Refusal),
}

// === impl Replayer ===

impl<D: Directory, S: Sink> Replayer<D, S> {
    /// Decides as the daemon with these settings would. A dry run stores nothing. `metrics` counts
    /// the lookups; the caller counts the messages.
    pub fn new(
        config: &IngestConfig,
        directory: D,
        sink: S,
        metrics: IngestMetrics,
        clock: Clock,
        is_dry: bool,
    ) -> Self {
        // The device was charged for these messages when it sent them. Registration of an unknown
        // device is left to the operator.
        let config = IngestConfig { rate_limit: None, auto_provision: false, ..config.clone() };
        let mut authorizer =
            Authorizer::new(directory, &config, Grants::new(&config), metrics, clock);
        authorizer.keep_all_refused();
        Self { authorizer, sink, is_dry }
    }

    /// Forwards what is accepted, as this plan says.
    pub fn forwarding(&mut self, plan: ForwardPlan) {
        self.authorizer.forwarding(watch::channel(Arc::new(plan)).1);
    }

    /// Decides a message again, and stores it if it is accepted.
    pub async fn replay(&mut self, delivery: Delivery) -> Result<Replayed, Outage> {
        let (judged, batch) = judge(&mut self.authorizer, delivery).await?;
        if judged == Replayed::Accepted { store(&mut self.sink, batch).await } else { Ok(judged) }
    }

    /// The outcome in one or two words.
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

/// If the message is accepted, the returned batch holds it.
async fn judge<D: Directory>(
    authorizer: &mut Authorizer<D>,
    delivery: Delivery,
) -> Result<(Replayed, Batch), Outage> {
    let mut candidates = vec![authorizer.parse(delivery)];
    authorizer.query_registry(&mut candidates).await?;
    let mut batch = authorizer.judge(candidates);
    // The refusal was counted and kept when it first occurred.
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
        None if receipt.duplicates > 0 || batch.known_duplicates > 0 => Replayed::Duplicate,
        None => Replayed::Accepted,
    })
}
