//! Sends a message from quarantine down the same road again: parse, ask, judge, store.
//!
//! One at a time, and never back into quarantine: a message that is refused again stays where it is.

use super::authorize::Authorizer;
use crate::domain::batch::Batch;
use crate::domain::message::Delivery;
use crate::domain::ports::{Directory, Outage, Sink};
use crate::domain::verdict::{Reason, Refusal};

/// What became of a replay, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is accepted, and stored unless this was a dry run.
    Accepted,
    /// It is in the table already.
    Duplicate,
    /// It is the platform's own voice: nothing to store.
    Ignored,
    /// It is refused, perhaps for another reason than before.
    Refused(Refusal),
}

/// Judges a message anew. The batch holds it, ready to be stored, when it is accepted.
pub async fn judge<D: Directory>(
    authorizer: &mut Authorizer<D>,
    delivery: Delivery,
) -> Result<(Replayed, Batch), Outage> {
    authorizer.keep_all_refused();
    let deliveries = vec![delivery];
    let outcomes = authorizer.parse(&deliveries);
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
pub async fn store<S: Sink>(sink: &mut S, mut batch: Batch) -> Result<Replayed, Outage> {
    let receipt = sink.commit(&mut batch).await?;
    Ok(match batch.refused_again.pop() {
        Some(why) => Replayed::Refused(Refusal::new(Reason::StoreRejected, why)),
        None if receipt.duplicates > 0 => Replayed::Duplicate,
        None => Replayed::Accepted,
    })
}
