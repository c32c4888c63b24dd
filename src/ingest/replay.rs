//! Sends quarantined messages through the same steps again: parse, query, authorize, store.
//!
//! Each message is decided alone, in order, and never sent back into quarantine: a message that is
//! refused again stays there.

use std::sync::Arc;

use tokio::sync::watch;

use super::authorize::Authorizer;
use super::grants::Grants;
use super::parse::parsed::ParseOutcome;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::Batch;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage, Sink};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Clock;
use crate::telemetry::ingest::IngestMetrics;

/// Devices that a replay remembers at once; a batch has at most as many messages.
const CACHED_DEVICES: u64 = 512;

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
    /// Not processed: earlier replays have refused it too often.
    LeftOut,
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
        let config = IngestConfig {
            rate_limit: None,
            auto_provision: false,
            cache_max_size: config.cache_max_size.min(CACHED_DEVICES),
            ..config.clone()
        };
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
        let outcomes = self.replay_batch(vec![delivery]).await?;
        outcomes.into_iter().next().ok_or_else(|| Outage("a message has no outcome".to_owned()))
    }

    /// Decides messages again, and stores those that are accepted in one transaction. There is one
    /// outcome for each, in order. Of several messages that are in the table already it is only known
    /// how many there are: the last ones have that outcome.
    pub async fn replay_batch(
        &mut self,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<Replayed>, Outage> {
        let mut candidates: Vec<_> =
            deliveries.into_iter().map(|delivery| self.authorizer.parse(delivery)).collect();
        self.authorizer.query_registry(&mut candidates).await?;
        let ignored: Vec<bool> = candidates
            .iter()
            .map(|candidate| matches!(candidate.outcome, ParseOutcome::Ignored))
            .collect();
        let mut batch = self.authorizer.judge(candidates);
        let mut outcomes = outcomes(&mut batch, &ignored);
        if outcomes.contains(&Replayed::Accepted) {
            self.store(batch, &mut outcomes).await?;
        }
        Ok(outcomes)
    }

    /// The outcome in one or two words.
    pub const fn label(&self, replayed: &Replayed) -> &'static str {
        match replayed {
            Replayed::Accepted if self.is_dry => "would be stored",
            Replayed::Accepted => "stored",
            Replayed::Duplicate => "stored before",
            Replayed::Ignored => "ignored",
            Replayed::Before => "replayed before",
            Replayed::LeftOut => "left out",
            Replayed::Refused(_) => "refused",
        }
    }

    /// Returns the sink, for the next replayer.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Stores what was accepted.
    async fn store(&mut self, mut batch: Batch, outcomes: &mut [Replayed]) -> Result<(), Outage> {
        let receipt = self.sink.commit(&mut batch).await?;
        for (origin, why) in std::mem::take(&mut batch.refused_again) {
            outcomes[origin] = Replayed::Refused(Refusal::new(Reason::StoreRejected, why));
        }
        let duplicates = receipt.duplicates + batch.known_duplicates;
        let accepted = outcomes.iter_mut().rev().filter(|outcome| **outcome == Replayed::Accepted);
        for outcome in accepted.take(usize::try_from(duplicates).unwrap_or(usize::MAX)) {
            *outcome = Replayed::Duplicate;
        }
        Ok(())
    }
}

// === private helpers ===

/// The outcome of each delivery before the batch is stored. Takes the refused messages out of the
/// batch: each was counted and kept when it first occurred.
fn outcomes(batch: &mut Batch, ignored: &[bool]) -> Vec<Replayed> {
    let mut is_accepted = vec![false; ignored.len()];
    let readings = batch.readings.iter().map(|row| row.origin);
    let shadows = batch.shadows.iter().map(|row| row.origin);
    let acks = batch.command_acks.iter().map(|row| row.origin);
    for origin in readings.chain(shadows).chain(acks) {
        is_accepted[origin] = true;
    }
    // They are in the order of the deliveries.
    let mut refused = std::mem::take(&mut batch.quarantined).into_iter();
    batch.refusal_counts.clear();
    let outcome = |(is_accepted, is_ignored): (&bool, &bool)| match (is_accepted, is_ignored) {
        (true, _) => Replayed::Accepted,
        (false, true) => Replayed::Ignored,
        (false, false) => {
            refused.next().map_or(Replayed::Duplicate, |record| Replayed::Refused(record.refusal))
        }
    };
    is_accepted.iter().zip(ignored).map(outcome).collect()
}
