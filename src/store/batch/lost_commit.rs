//! Finds out whether a transaction whose COMMIT was not answered took effect.
//!
//! It writes nothing; the caller decides what to write again.

use uuid::Uuid;

use super::quarantine_rows;
use crate::domain::batch::Batch;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// How to find a transaction later. The number alone proves nothing: a server that crashed before
/// the number reached its disk gives it to another transaction, which may commit. Only a row proves
/// that rows exist.
#[derive(Debug)]
pub(super) struct Trace {
    /// The transaction id (`xid8`).
    pub number: String,
    /// The identifier of one quarantine row it wrote; `None` means it wrote none.
    pub event: Option<Uuid>,
}

/// The outcome of a transaction whose COMMIT was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitOutcome {
    /// All its rows are stored.
    Committed,
    /// Its number is committed, but no row proves it. Rows with keys are written again. Counts,
    /// which have no key, are taken as stored: at worst a sum is too low, and no message is lost.
    Counted,
    /// Nothing of it is stored.
    NotCommitted,
}

/// Identifies a batch, to compare it with the one of an attempt that got no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BatchFingerprint {
    rows: [usize; 5],
    first: Option<(Timestamp, u64)>,
}

// === impl Trace, BatchFingerprint ===

impl Trace {
    /// Reads the outcome; returns an outage while the transaction is in progress.
    pub async fn outcome(
        &self,
        session: &mut WriterConnection,
    ) -> Result<CommitOutcome, StoreError> {
        let query = sqlx::query_scalar("SELECT pg_xact_status($1::xid8)").bind(&self.number);
        let status: Option<String> = answer(query.fetch_one(&mut session.connection)).await?;
        match (status.as_deref(), self.event) {
            (Some("in progress"), _) => Err(StoreError::Outage(
                "the transaction whose COMMIT was not answered is still in progress".into(),
            )),
            (Some("committed"), None) => Ok(CommitOutcome::Counted),
            // Read after the status, so that it sees what the transaction committed.
            (Some("committed"), Some(event)) => {
                let is_there = quarantine_rows::event_exists(session, event).await?;
                Ok(if is_there { CommitOutcome::Committed } else { CommitOutcome::NotCommitted })
            }
            // Aborted, or unknown to this server: it was never committed here.
            _ => Ok(CommitOutcome::NotCommitted),
        }
    }
}

impl BatchFingerprint {
    /// The fingerprint of `batch`.
    pub fn of(batch: &Batch) -> Self {
        let rows = [
            batch.deliveries.len(),
            batch.readings.len(),
            batch.shadows.len(),
            batch.command_acks.len(),
            batch.quarantined.len(),
        ];
        let first = batch.deliveries.first();
        let first =
            first.map(|delivery| (delivery.received_at, delivery.message_id().as_u64_pair().0));
        Self { rows, first }
    }
}
