//! Stores a batch: one transaction for all its rows, on a connection of its own.
//!
//! It tries the fast path first: COPY into the tables, or one statement for a few rows. The safe
//! path (staging, savepoints, halving) is for a batch that may contain redeliveries, that follows a
//! failure, or that failed on the fast path. [`super::last_attempt`] says what the attempt before
//! left open. The sink never retries an outage and never drops a row.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::accepted_rows::{self, WritePath};
use super::bisect::WriteTally;
use super::earlier_decisions::{self, Horizon};
use super::last_attempt::LastAttempt;
use super::lost_commit::{BatchFingerprint, CommitOutcome, Trace};
use super::quarantine_rows::Unkept;
use super::snapshot::BatchSnapshot;
use super::{event_ids, quarantine_rows, single_statement, staging};
use crate::domain::batch::{Batch, Receipt};
use crate::domain::ports::{Outage, Sink};
use crate::domain::time::Timestamp;
use crate::store::connection::backend::{self, Backend, FORMER_MAX};
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::write_guard::{self, WriteGuard};
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;
use crate::telemetry::store::StoreMetrics;

/// The sink in Postgres.
#[derive(Debug)]
pub struct PgSink {
    options: Arc<PgConnectOptions>,
    metrics: StoreMetrics,
    session: Option<WriterConnection>,
    /// The server process of the current session.
    backend: Option<Backend>,
    /// Server processes of broken sessions; they may still lock rows.
    former_backends: Vec<Backend>,
    buffer: CopyBuffer,
    /// What the last attempt left open.
    last: LastAttempt,
    /// The client id that the messages were delivered to, and the lane.
    client_id: String,
    /// How long the notes of messages that were counted and not stored are needed.
    horizon: Horizon,
    /// The statement that ends a transaction: COMMIT, or ROLLBACK in a rehearsal.
    end_statement: &'static str,
}

/// The result of an attempt whose transaction has committed.
#[derive(Debug, Default)]
struct AttemptOutcome {
    tally: WriteTally,
    /// How to find this transaction later; `None` means there is no need to.
    trace: Option<Trace>,
}

// === impl PgSink ===

impl Sink for PgSink {
    async fn commit(&mut self, batch: &mut Batch) -> Result<Receipt, Outage> {
        if is_empty(batch) {
            return Ok(Receipt::default());
        }
        match self.guarded_attempt(batch).await {
            Ok(receipt) => {
                self.last.stored();
                self.horizon.record_batch(batch);
                Ok(receipt)
            }
            Err(error) => {
                self.last.failed();
                self.remember_backend();
                Err(error.into())
            }
        }
    }
}

impl PgSink {
    /// Creates a sink that connects on first use.
    pub fn new(options: PgConnectOptions, metrics: StoreMetrics) -> Self {
        Self {
            options: Arc::new(options),
            metrics,
            session: None,
            backend: None,
            former_backends: Vec::new(),
            buffer: CopyBuffer::default(),
            last: LastAttempt::default(),
            client_id: String::new(),
            horizon: Horizon::default(),
            end_statement: "COMMIT",
        }
    }

    /// Returns the sink for messages that the broker delivers to `client_id`.
    #[must_use]
    pub fn of_client(self, client_id: &str) -> Self {
        Self { client_id: client_id.to_owned(), ..self }
    }

    /// Returns the sink of one of several lanes, counted from 0. A lane that stands still in a
    /// transaction then holds the others only at the counters of equal refusals.
    #[must_use]
    pub fn of_lane(self, lane: usize) -> Self {
        let name =
            if lane == 0 { self.client_id } else { format!("{}#{}", self.client_id, lane + 1) };
        Self { client_id: name, ..self }
    }

    /// Returns a sink that writes everything and rolls back: its receipts say what would be stored.
    #[must_use]
    pub fn rehearsing(self) -> Self {
        Self { end_statement: "ROLLBACK", ..self }
    }

    /// Takes the session out of `self` until the attempt succeeds, so that an error or a cancelled
    /// future leaves no session with an open transaction.
    async fn guarded_attempt(&mut self, batch: &mut Batch) -> Result<Receipt, StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        let guard = WriteGuard::of(&session, self.backend);
        let options = Arc::clone(&self.options);
        write_guard::watch_write(guard, &options, self.attempt(session, batch)).await
    }

    /// Connects. After a failure it first ends the server processes that may still lock rows.
    async fn open(&mut self) -> Result<WriterConnection, StoreError> {
        // A cancelled future has dropped its session.
        self.remember_backend();
        let mut session = WriterConnection::open(&self.options).await?;
        self.backend = Backend::of(&mut session).await?;
        if self.last.may_be_stored() || !self.former_backends.is_empty() {
            backend::end_abandoned(&mut session, &mut self.former_backends).await?;
        }
        Ok(session)
    }

    fn remember_backend(&mut self) {
        let lost = self.backend.take();
        if self.former_backends.len() < FORMER_MAX {
            self.former_backends.extend(lost);
        }
    }

    async fn attempt(
        &mut self,
        mut session: WriterConnection,
        batch: &mut Batch,
    ) -> Result<Receipt, StoreError> {
        if let Some(receipt) = self.resolve_unanswered_commit(&mut session, batch).await? {
            self.session = Some(session);
            return Ok(receipt);
        }
        if batch.maybe_repeated {
            earlier_decisions::settle(&mut session, batch).await?;
        }
        if event_ids::has_events(batch) {
            event_ids::settle(&mut session, batch).await?;
        }
        let is_rehearsal = self.end_statement != "COMMIT";
        let may_exist = batch.maybe_repeated || self.last.may_be_stored();
        let path = if may_exist || is_rehearsal { WritePath::Safe } else { WritePath::Fast };
        let outcome = match self.write(&mut session, batch, path).await {
            Err(StoreError::Data(_) | StoreError::Duplicate) if path == WritePath::Fast => {
                if !is_one_statement(batch) {
                    session.run("ROLLBACK").await?;
                }
                self.write(&mut session, batch, WritePath::Safe).await?
            }
            written => written?,
        };
        self.session = Some(session);
        self.metrics.poisoned_rows.inc_by(outcome.tally.poisoned);
        if !is_rehearsal {
            self.observe_answers(&outcome.tally);
        }
        Ok(receipt(&outcome.tally))
    }

    fn observe_answers(&self, tally: &WriteTally) {
        for micros in &tally.answered_micros {
            let age = Timestamp::from_micros(*micros);
            self.metrics.command_answer_seconds.observe(age.seconds_since(Timestamp::default()));
        }
    }

    /// Writes the batch and commits. After an error the batch is unchanged, and the state of
    /// [`LastAttempt`] covers every row without a key that may be stored.
    async fn write(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
        path: WritePath,
    ) -> Result<AttemptOutcome, StoreError> {
        let mut snapshot = None;
        let written = self.write_rows(session, batch, path, &mut snapshot).await;
        if written.is_err()
            && let Some(snapshot) = snapshot
        {
            snapshot.restore(batch);
        }
        written
    }

    async fn write_rows(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
        path: WritePath,
        snapshot: &mut Option<BatchSnapshot>,
    ) -> Result<AttemptOutcome, StoreError> {
        if path == WritePath::Fast
            && single_statement::takes(batch)
            && let Some(first) = quarantine_rows::first_id(&batch.quarantined)
        {
            return self.write_single_statement(session, batch, first).await;
        }
        if path == WritePath::Fast && single_statement::takes_forwarding(batch) {
            let stored = single_statement::write_forwarding(session, batch, &self.client_id);
            let tally = WriteTally { stored: stored.await?, ..WriteTally::default() };
            return Ok(AttemptOutcome { tally, trace: None });
        }
        let staged = path == WritePath::Safe && !batch.readings.is_empty();
        if staged {
            staging::prepare(session).await?;
        }
        let fingerprint = BatchFingerprint::of(batch);
        let has_events = event_ids::has_events(batch);
        let transaction = path == WritePath::Safe || !is_one_statement(batch);
        if transaction {
            session.run("BEGIN").await?;
        }
        let buffer = &mut self.buffer;
        let tally = accepted_rows::write(session, buffer, batch, path).await?;
        if !tally.refused.is_empty() {
            *snapshot = Some(BatchSnapshot::of(batch));
            batch.reject(&tally.refused);
        }
        if !batch.forwards.is_empty() && self.end_statement == "COMMIT" {
            accepted_rows::forward(session, &self.client_id, batch, &tally, path).await?;
        }
        if has_events {
            event_ids::note(session, batch).await?;
        }
        let unchanged = snapshot.is_none().then_some(&fingerprint);
        let trace = self.write_refused(session, batch, unchanged).await?;
        let outcome = AttemptOutcome { tally, trace };
        if transaction && let Err(error) = session.run(self.end_statement).await {
            self.last.commit_unanswered(fingerprint, outcome.trace, outcome.tally);
            return Err(error);
        }
        if staged {
            self.metrics.staged_batches.inc();
        }
        Ok(outcome)
    }

    /// Writes readings, events and counts in one statement. It stays open in [`LastAttempt`] until
    /// its answer arrives.
    async fn write_single_statement(
        &mut self,
        session: &mut WriterConnection,
        batch: &Batch,
        first: Uuid,
    ) -> Result<AttemptOutcome, StoreError> {
        self.last.statement_sent(BatchFingerprint::of(batch), first);
        let written = single_statement::write(session, batch, first).await;
        if !matches!(written, Err(StoreError::Outage(_))) {
            self.last.statement_answered();
        }
        Ok(AttemptOutcome {
            tally: WriteTally { stored: written?, ..WriteTally::default() },
            trace: None,
        })
    }

    /// Writes quarantine events and counters; no message causes an error here. `unchanged` is set
    /// when all readings were stored: an unanswered statement that took effect stored them too, so
    /// without it that statement took no effect.
    async fn write_refused(
        &mut self,
        session: &mut WriterConnection,
        batch: &Batch,
        unchanged: Option<&BatchFingerprint>,
    ) -> Result<Option<Trace>, StoreError> {
        // This transaction has written the readings by now: it waited for an earlier statement on the
        // same keys to end, and a later one fails on them. So a missing event will not appear any
        // more.
        if let Some(event) = unchanged.and_then(|batch| self.last.event_of_statement(batch))
            && quarantine_rows::event_exists(session, event).await?
        {
            return Ok(None);
        }
        let event = quarantine_rows::first_id(&batch.quarantined);
        if let Some(first) = event {
            quarantine_rows::copy(session, &mut self.buffer, &batch.quarantined, first).await?;
        }
        if self.last.has_written_counts() || (batch.refusal_counts.is_empty() && event.is_none()) {
            return Ok(None);
        }
        let unkept = Unkept { client_id: &self.client_id, batch, horizon: &mut self.horizon };
        let number = quarantine_rows::count(session, &batch.refusal_counts, unkept).await?;
        Ok(Some(Trace { number, event }))
    }

    /// Returns the receipt of a batch that was committed while only the answer was lost. `None`
    /// means it must be written.
    async fn resolve_unanswered_commit(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
    ) -> Result<Option<Receipt>, StoreError> {
        let Some(trace) = self.last.open_commit(batch) else { return Ok(None) };
        let outcome = match trace.outcome(session).await {
            Ok(outcome) => outcome,
            Err(StoreError::Data(_) | StoreError::Duplicate) => CommitOutcome::NotCommitted,
            Err(StoreError::Outage(text)) => return Err(StoreError::Outage(text)),
        };
        let Some(tally) = self.last.commit_resolved(outcome) else { return Ok(None) };
        batch.reject(&tally.refused);
        Ok(Some(receipt(&tally)))
    }
}

// --- private helpers ---

fn is_empty(batch: &Batch) -> bool {
    batch.readings.is_empty()
        && batch.shadows.is_empty()
        && batch.command_acks.is_empty()
        && batch.quarantined.is_empty()
        && batch.refusal_counts.is_empty()
        && batch.suspects.is_empty()
        && batch.sightings.is_empty()
}

/// Whether one statement writes the whole batch: it is a transaction by itself and needs no BEGIN.
fn is_one_statement(batch: &Batch) -> bool {
    let only_accepted = batch.command_acks.is_empty()
        && batch.quarantined.is_empty()
        && batch.refusal_counts.is_empty();
    if event_ids::has_events(batch) {
        return false;
    }
    let no_state = batch.shadows.is_empty() && batch.sightings.is_empty();
    single_statement::takes(batch)
        || single_statement::takes_forwarding(batch)
        || batch.forwards.is_empty() && only_accepted && (no_state || batch.readings.is_empty())
}

fn receipt(tally: &WriteTally) -> Receipt {
    Receipt {
        stored: tally.stored,
        duplicates: tally.duplicates,
        rejected: tally.refused.len() as u64,
    }
}
