//! A transaction whose COMMIT was not answered: whether it is there after all.
//!
//! It writes nothing; who asks decides what is written again.

use uuid::Uuid;

use super::bisect::WriteTally;
use super::quarantine_rows;
use crate::domain::batch::Batch;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// A batch with refused messages whose COMMIT was not answered. They have no key to be skipped by, so before they are
/// written again the database is asked what became of that transaction.
#[derive(Debug)]
pub(super) struct UnansweredCommit {
    /// What it can be known by.
    pub trace: Trace,
    /// Which batch it was.
    pub batch: BatchFingerprint,
    /// What it came to.
    pub tally: WriteTally,
}

/// What a transaction can be known by later. Its number alone proves nothing: a server that crashed before the number
/// reached its disk gives it to another transaction, which may well commit. Only a row proves that rows are there.
#[derive(Debug)]
pub(super) struct Trace {
    /// Its number.
    pub number: String,
    /// One of the rows it wrote to quarantine, if it wrote any.
    pub event: Option<Uuid>,
}

/// What became of a transaction whose COMMIT was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitOutcome {
    /// All of it is there.
    Committed,
    /// Its number is committed, and it left no row that would prove it. The rows, which have keys, are written again; the
    /// counts, which have none, are taken to be there: at worst a sum is short, and no message is lost.
    Counted,
    /// Nothing of it is there.
    NotCommitted,
}

/// Tells whether the batch at hand is the one in doubt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchFingerprint {
    rows: [usize; 5],
    first: Option<(Timestamp, u64)>,
}

// === impl Doubt, Trace, Fingerprint ===

impl UnansweredCommit {
    /// What remains of an attempt to be asked about later; none when there is nothing worth asking for.
    pub fn about(batch: BatchFingerprint, trace: Option<Trace>, tally: WriteTally) -> Option<Self> {
        Some(Self { trace: trace?, batch, tally })
    }
}

impl Trace {
    /// What became of the transaction; an outage while it is still in progress.
    pub async fn fate(&self, session: &mut WriterConnection) -> Result<CommitOutcome, StoreError> {
        let asked = sqlx::query_scalar("SELECT pg_xact_status($1::xid8)").bind(&self.number);
        let status: Option<String> = answer(asked.fetch_one(&mut session.connection)).await?;
        match (status.as_deref(), self.event) {
            (Some("in progress"), _) => {
                Err(StoreError::Outage("the transaction whose COMMIT was not answered is still in progress".into()))
            }
            (Some("committed"), None) => Ok(CommitOutcome::Counted),
            // Asked after the status, so that it sees what the transaction committed.
            (Some("committed"), Some(event)) => {
                let is_there = quarantine_rows::holds(session, event).await?;
                Ok(if is_there { CommitOutcome::Committed } else { CommitOutcome::NotCommitted })
            }
            // Aborted, or unknown to this server: it was never committed here.
            _ => Ok(CommitOutcome::NotCommitted),
        }
    }
}

impl BatchFingerprint {
    /// The marks of this batch.
    pub fn of(batch: &Batch) -> Self {
        let rows = [
            batch.deliveries.len(),
            batch.readings.len(),
            batch.shadows.len(),
            batch.command_acks.len(),
            batch.quarantined.len(),
        ];
        // The first message of a batch, by when it came and what it says.
        let first = batch.deliveries.first();
        let first = first.map(|delivery| (delivery.received_at, delivery.message_id().as_u64_pair().0));
        Self { rows, first }
    }
}
