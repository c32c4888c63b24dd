//! What the last attempt to store a batch left open, as one state. The sink asks it which path to
//! take, and whether events and counts are stored already.
//!
//! Telemetry rows, device state and command acknowledgements have keys: writing them again changes
//! nothing. Quarantine events and counts have none. So an attempt whose answer was lost leaves a
//! state that says how to find out what it stored. The caller retries with the same batch until it
//! is stored.
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | any | the batch is stored | `Clean` |
//! | `Clean` | the attempt fails, and stored no event and no count, or the batch has none | `Failed` |
//! | `Clean` | the single statement gets no answer | `StatementUnanswered` |
//! | `StatementUnanswered` | its answer arrives: it stored all rows or none | `Clean` |
//! | `StatementUnanswered` | a later attempt finds its event, and writes no event and no count | unchanged |
//! | any but `CountsWritten` | COMMIT of events or counts gets no answer | `CommitUnanswered` |
//! | `CommitUnanswered` | the transaction took effect | the batch is stored: `Clean` |
//! | `CommitUnanswered` | its number committed and it wrote no event to prove it | `CountsWritten` |
//! | `CommitUnanswered` | it took no effect, or the batch is another one | `StatementUnanswered` if a statement before it is still open, else `Failed` |
//! | `CommitUnanswered` | its outcome cannot be read yet | unchanged |
//! | any but `Clean` | a further attempt fails in any other way | unchanged |
//!
//! It runs no statement and writes no row.

use uuid::Uuid;

use super::bisect::WriteTally;
use super::lost_commit::{BatchFingerprint, CommitOutcome, Trace};
use crate::domain::batch::Batch;

/// What the last attempt left open.
#[derive(Debug, Default)]
pub(super) enum LastAttempt {
    /// Nothing: the last batch is stored.
    #[default]
    Clean,
    /// Rows with keys may exist; events and counts do not.
    Failed,
    /// The single statement may have stored the batch, or may still do so.
    StatementUnanswered(UnansweredStatement),
    /// The transaction may have stored the batch.
    CommitUnanswered(Box<UnansweredCommit>),
    /// The counts are stored; the batch has no events, and its rows have keys.
    CountsWritten,
}

/// A single statement that got no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnansweredStatement {
    /// The batch.
    pub batch: BatchFingerprint,
    /// The identifier of the first event it would store. The event proves that it took effect.
    pub event: Uuid,
}

/// A transaction with events or counts whose COMMIT got no answer.
#[derive(Debug)]
pub(super) struct UnansweredCommit {
    /// How to find the transaction.
    trace: Trace,
    /// The batch.
    batch: BatchFingerprint,
    /// Its result, should it have committed.
    tally: WriteTally,
    /// A statement sent before it that got no answer either. The keys of this transaction blocked
    /// it; once the transaction is rolled back, it may still take effect.
    statement: Option<UnansweredStatement>,
}

// === impl LastAttempt ===

impl LastAttempt {
    /// Whether rows of the batch may exist, so that only the safe path stores it.
    pub fn may_be_stored(&self) -> bool {
        !matches!(self, Self::Clean)
    }

    /// Whether the counts are stored, and must not be added again.
    pub fn has_written_counts(&self) -> bool {
        matches!(self, Self::CountsWritten)
    }

    /// The event that proves that a statement stored `batch`. `None` means no such statement is
    /// open.
    pub fn event_of_statement(&self, batch: &BatchFingerprint) -> Option<Uuid> {
        match self {
            Self::StatementUnanswered(statement) if statement.batch == *batch => {
                Some(statement.event)
            }
            _ => None,
        }
    }

    /// How to find the transaction that may have stored `batch`. `None` means there is none; one of
    /// another batch is forgotten.
    pub fn open_commit(&mut self, batch: &Batch) -> Option<&Trace> {
        if let Self::CommitUnanswered(commit) = self
            && commit.batch != BatchFingerprint::of(batch)
        {
            *self = Self::without_effect(commit.statement.take());
        }
        match self {
            Self::CommitUnanswered(commit) => Some(&commit.trace),
            _ => None,
        }
    }

    /// The outcome of the transaction was read. Returns its result if it stored the batch.
    pub fn commit_resolved(&mut self, outcome: CommitOutcome) -> Option<WriteTally> {
        let Self::CommitUnanswered(commit) = self else { return None };
        match outcome {
            CommitOutcome::Committed => return Some(std::mem::take(&mut commit.tally)),
            CommitOutcome::Counted => *self = Self::CountsWritten,
            CommitOutcome::NotCommitted => *self = Self::without_effect(commit.statement.take()),
        }
        None
    }

    /// The single statement is sent. It is sent from `Clean` only.
    pub fn statement_sent(&mut self, batch: BatchFingerprint, event: Uuid) {
        *self = Self::StatementUnanswered(UnansweredStatement { batch, event });
    }

    /// The single statement was answered: it stored all or nothing.
    pub fn statement_answered(&mut self) {
        *self = Self::Clean;
    }

    /// COMMIT got no answer. `trace` is `None` if the transaction wrote no event and no count.
    pub fn commit_unanswered(
        &mut self,
        batch: BatchFingerprint,
        trace: Option<Trace>,
        tally: WriteTally,
    ) {
        let Some(trace) = trace else { return };
        let statement = match std::mem::take(self) {
            Self::StatementUnanswered(statement) => Some(statement),
            _ => None,
        };
        let commit = UnansweredCommit { trace, batch, tally, statement };
        *self = Self::CommitUnanswered(Box::new(commit));
    }

    /// The batch is stored.
    pub fn stored(&mut self) {
        *self = Self::Clean;
    }

    /// The attempt failed.
    pub fn failed(&mut self) {
        if matches!(self, Self::Clean) {
            *self = Self::Failed;
        }
    }

    /// The state after a transaction that took no effect.
    fn without_effect(statement: Option<UnansweredStatement>) -> Self {
        statement.map_or(Self::Failed, Self::StatementUnanswered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::Delivery;
    use crate::domain::publisher::Publisher;
    use crate::domain::time::Timestamp;

    const EVENT: Uuid = Uuid::from_u128(7);

    fn batch(topic: &'static [u8]) -> Batch {
        let delivery = Delivery {
            topic: bytes::Bytes::from_static(topic),
            payload: bytes::Bytes::new(),
            cut_from: None,
            held_since: Timestamp::default(),
            received_at: Timestamp::default(),
            dup: false,
            redelivered: false,
            maybe_repeated: false,
            ack: None,
            correlation: None,
            publisher: Publisher::default(),
            replay: None,
            arrival: None,
        };
        Batch { deliveries: vec![delivery], ..Batch::default() }
    }

    fn of(topic: &'static [u8]) -> BatchFingerprint {
        BatchFingerprint::of(&batch(topic))
    }

    fn trace() -> Trace {
        Trace { number: "7".to_owned(), event: Some(EVENT) }
    }

    fn unanswered(before: LastAttempt) -> LastAttempt {
        let mut last = before;
        last.commit_unanswered(
            of(b"a"),
            Some(trace()),
            WriteTally { stored: 3, ..WriteTally::default() },
        );
        last.failed();
        assert!(matches!(last, LastAttempt::CommitUnanswered(_)), "{last:?}");
        last
    }

    fn statement() -> LastAttempt {
        let mut last = LastAttempt::Clean;
        last.statement_sent(of(b"a"), EVENT);
        last.failed();
        last
    }

    #[test]
    fn a_failure_is_remembered_until_the_batch_is_stored() {
        let mut last = LastAttempt::default();
        assert!(!last.may_be_stored());
        last.failed();
        assert!(matches!(last, LastAttempt::Failed) && last.may_be_stored());
        last.stored();
        assert!(matches!(last, LastAttempt::Clean));
    }

    #[test]
    fn a_statement_stays_open_until_it_is_answered_or_the_batch_is_stored() {
        let mut last = statement();
        assert!(last.may_be_stored());
        assert_eq!(last.event_of_statement(&of(b"a")), Some(EVENT));
        assert_eq!(last.event_of_statement(&of(b"b")), None, "another batch");
        last.failed();
        assert_eq!(last.event_of_statement(&of(b"a")), Some(EVENT), "a further failure");
        last.commit_unanswered(of(b"a"), None, WriteTally::default());
        assert_eq!(last.event_of_statement(&of(b"a")), Some(EVENT), "it wrote no event");
        last.statement_answered();
        assert!(matches!(last, LastAttempt::Clean));
    }

    #[test]
    fn a_commit_that_took_effect_gives_its_result() {
        let mut last = unanswered(LastAttempt::Clean);
        assert!(last.open_commit(&batch(b"a")).is_some());
        assert_eq!(
            last.commit_resolved(CommitOutcome::Committed).map(|tally| tally.stored),
            Some(3)
        );
        last.stored();
        assert!(last.open_commit(&batch(b"a")).is_none());
    }

    #[test]
    fn a_commit_without_effect_leaves_the_statement_that_it_blocked() {
        let mut last = unanswered(LastAttempt::Failed);
        assert_eq!(last.commit_resolved(CommitOutcome::NotCommitted), None);
        assert!(matches!(last, LastAttempt::Failed));
        let mut last = unanswered(statement());
        assert_eq!(last.event_of_statement(&of(b"a")), None, "the commit is resolved first");
        assert_eq!(last.commit_resolved(CommitOutcome::NotCommitted), None);
        assert_eq!(last.event_of_statement(&of(b"a")), Some(EVENT));
    }

    #[test]
    fn counts_that_are_written_stay_written_until_the_batch_is_stored() {
        let mut last = unanswered(LastAttempt::Failed);
        assert_eq!(last.commit_resolved(CommitOutcome::Counted), None);
        assert!(last.has_written_counts() && last.may_be_stored());
        last.commit_unanswered(of(b"a"), None, WriteTally::default());
        last.failed();
        assert!(last.has_written_counts());
        last.stored();
        assert!(!last.has_written_counts());
    }

    #[test]
    fn a_commit_of_another_batch_is_forgotten() {
        let mut last = unanswered(LastAttempt::Clean);
        assert!(last.open_commit(&batch(b"b")).is_none());
        assert!(matches!(last, LastAttempt::Failed));
        let mut last = unanswered(statement());
        assert!(last.open_commit(&batch(b"b")).is_none());
        assert_eq!(last.event_of_statement(&of(b"a")), Some(EVENT));
    }
}
