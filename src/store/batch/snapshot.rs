//! The rows of a batch before a transaction rejects some of them, to restore the batch after a
//! rollback.
//!
//! It touches no row in Postgres.

use crate::domain::batch::Batch;
use crate::domain::link::Forward;
use crate::domain::message::{CommandAck, Reading, ShadowReport};

/// The rows of a batch before a transaction rejects some of them.
#[derive(Debug)]
pub(super) struct BatchSnapshot {
    readings: Vec<Reading>,
    shadows: Vec<ShadowReport>,
    command_acks: Vec<CommandAck>,
    forwards: Vec<Forward>,
    quarantined: usize,
    refused: Option<usize>,
    refusal_counts: usize,
    refused_again: usize,
    unkept: usize,
    sampled_out: u64,
}

// === impl BatchSnapshot ===

impl BatchSnapshot {
    /// Copies what a rejection changes.
    pub(super) fn of(batch: &Batch) -> Self {
        Self {
            readings: batch.readings.clone(),
            shadows: batch.shadows.clone(),
            command_acks: batch.command_acks.clone(),
            forwards: batch.forwards.clone(),
            quarantined: batch.quarantined.len(),
            refused: batch.refused.as_ref().map(Vec::len),
            refusal_counts: batch.refusal_counts.len(),
            refused_again: batch.refused_again.len(),
            unkept: batch.unkept.len(),
            sampled_out: batch.sampled_out,
        }
    }

    /// Restores the batch.
    pub(super) fn restore(self, batch: &mut Batch) {
        batch.readings = self.readings;
        batch.shadows = self.shadows;
        batch.command_acks = self.command_acks;
        batch.forwards = self.forwards;
        batch.quarantined.truncate(self.quarantined);
        if let (Some(refused), Some(kept)) = (&mut batch.refused, self.refused) {
            refused.truncate(kept);
        }
        batch.refusal_counts.truncate(self.refusal_counts);
        batch.refused_again.truncate(self.refused_again);
        batch.unkept.truncate(self.unkept);
        batch.sampled_out = self.sampled_out;
    }
}
