//! Keeps a batch: one transaction for everything it holds, on one connection of its own.
//!
//! It tries the fast road first (COPY straight into the tables, or one statement for a few rows). A batch that may hold
//! repeated messages, that follows a failure, or that the fast road refused takes the sure one: staging, savepoints, halving.
//! It never retries an outage itself and never throws a row away.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::bisect::{Section, WriteTally, isolate};
use super::commands::CommandAcks;
use super::copy::CopyBuffer;
use super::device_state::StateChanges;
use super::earlier_decisions::{self, Horizon};
use super::lost_commit::{BatchFingerprint, CommitOutcome, Trace, UnansweredCommit};
use super::quarantine_rows::Unkept;
use super::snapshot::BatchSnapshot;
use super::staging::StagedReadings;
use super::{quarantine_rows, readings, single_statement, staging};
use crate::domain::batch::{Batch, Receipt};
use crate::domain::ports::{Outage, Sink};
use crate::store::connection::backend::{self, Backend, FORMER_MAX};
use crate::store::connection::write_guard;
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;
use crate::telemetry::store::StoreMetrics;

/// The sink that is Postgres.
#[derive(Debug)]
pub struct PgSink {
    options: Arc<PgConnectOptions>,
    metrics: StoreMetrics,
    session: Option<WriterConnection>,
    /// Who works for the session at hand.
    backend: Option<Backend>,
    /// Who worked for sessions that broke, and may hold their rows still.
    former: Vec<Backend>,
    buffer: CopyBuffer,
    /// The last attempt failed and may nevertheless have been committed: what comes next may be there already.
    suspect: bool,
    doubt: Option<UnansweredCommit>,
    /// The counts of the batch at hand are there already; its rows may not be.
    counted: bool,
    /// A batch that one statement may have written, though its answer was lost, and the first event it would have left.
    unproven: Option<(BatchFingerprint, Uuid)>,
    /// Whose messages these are.
    client_id: String,
    horizon: Horizon,
    /// How a transaction ends: for good, or as if it had never been.
    ending: &'static str,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WritePath {
    /// All or nothing, a row that is there already fails it.
    Fast,
    /// Skips what is there already, and singles out what cannot be stored.
    Sure,
}

/// What an attempt came to, once its transaction has committed.
#[derive(Debug, Default)]
struct AttemptOutcome {
    tally: WriteTally,
    /// When it is worth asking for.
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
                self.suspect = false;
                self.counted = false;
                self.unproven = None;
                self.horizon.passed(batch);
                Ok(receipt)
            }
            Err(trouble) => {
                self.suspect = true;
                self.remember_backend();
                Err(trouble.into())
            }
        }
    }
}

impl PgSink {
    /// A sink that connects when it is first needed.
    pub fn new(options: PgConnectOptions, metrics: StoreMetrics) -> Self {
        Self {
            options: Arc::new(options),
            metrics,
            session: None,
            backend: None,
            former: Vec::new(),
            buffer: CopyBuffer::default(),
            suspect: false,
            doubt: None,
            counted: false,
            unproven: None,
            client_id: String::new(),
            horizon: Horizon::default(),
            ending: "COMMIT",
        }
    }

    /// A sink for the messages that the broker delivers to this client id.
    #[must_use]
    pub fn of_client(self, client_id: &str) -> Self {
        Self { client_id: client_id.to_owned(), ..self }
    }

    /// A sink that goes all the way and then takes everything back: what it says would have come true.
    #[must_use]
    pub fn rehearsing(self) -> Self {
        Self { ending: "ROLLBACK", ..self }
    }

    /// The session stays outside of `self` until all went well: neither an error nor a cancelled future leaves one behind that
    /// is half way through a transaction.
    async fn guarded_attempt(&mut self, batch: &mut Batch) -> Result<Receipt, StoreError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        let (lifeline, options) = (session.lifeline(self.backend), Arc::clone(&self.options));
        write_guard::watched(lifeline, &options, self.attempt(session, batch)).await
    }

    /// Connects. After a failure those are ended first who may hold the rows of a session that broke.
    async fn open(&mut self) -> Result<WriterConnection, StoreError> {
        // A future that was cancelled left its session to nobody.
        self.remember_backend();
        let mut session = WriterConnection::open(&self.options).await?;
        self.backend = Backend::of(&mut session).await?;
        if self.suspect || !self.former.is_empty() {
            backend::end_abandoned(&mut session, &mut self.former).await?;
        }
        Ok(session)
    }

    fn remember_backend(&mut self) {
        let lost = self.backend.take();
        if self.former.len() < FORMER_MAX {
            self.former.extend(lost);
        }
    }

    async fn attempt(&mut self, mut session: WriterConnection, batch: &mut Batch) -> Result<Receipt, StoreError> {
        if let Some(receipt) = self.resolve_doubt(&mut session, batch).await? {
            self.session = Some(session);
            return Ok(receipt);
        }
        if batch.maybe_repeated {
            earlier_decisions::settle(&mut session, batch).await?;
        }
        let is_rehearsal = self.ending != "COMMIT";
        let may_be_there = batch.maybe_repeated || self.suspect || self.unproven.is_some();
        let road = if may_be_there || is_rehearsal { WritePath::Sure } else { WritePath::Fast };
        let outcome = match self.write(&mut session, batch, road).await {
            Err(StoreError::Data(_) | StoreError::Duplicate) if road == WritePath::Fast => {
                if !is_one_statement(batch) {
                    session.run("ROLLBACK").await?;
                }
                self.write(&mut session, batch, WritePath::Sure).await?
            }
            written => written?,
        };
        self.session = Some(session);
        self.metrics.poisoned_rows.inc_by(outcome.tally.poisoned);
        Ok(receipt(&outcome.tally))
    }

    /// Writes the batch and commits. After an error nothing is committed, or [`Self::doubt`] or [`Self::unproven`] knows, or the
    /// rows have keys; and the batch is as it was.
    async fn write(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
        road: WritePath,
    ) -> Result<AttemptOutcome, StoreError> {
        let mut undo = None;
        let written = self.write_rows(session, batch, road, &mut undo).await;
        if written.is_err()
            && let Some(undo) = undo
        {
            undo.undo(batch);
        }
        written
    }

    async fn write_rows(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
        road: WritePath,
        undo: &mut Option<BatchSnapshot>,
    ) -> Result<AttemptOutcome, StoreError> {
        if road == WritePath::Fast
            && single_statement::takes(batch)
            && let Some(first) = quarantine_rows::first_id(&batch.quarantined)
        {
            return self.write_mixed(session, batch, first).await;
        }
        let staged = road == WritePath::Sure && !batch.readings.is_empty();
        if staged {
            staging::prepare(session).await?;
        }
        let fingerprint = BatchFingerprint::of(batch);
        let transaction = road == WritePath::Sure || !is_one_statement(batch);
        if transaction {
            session.run("BEGIN").await?;
        }
        let tally = self.write_accepted(session, batch, road).await?;
        if !tally.refused.is_empty() {
            *undo = Some(BatchSnapshot::of(batch));
            batch.reject(&tally.refused);
        }
        let same = undo.is_none().then_some(&fingerprint);
        let trace = self.write_refused(session, batch, same).await?;
        let outcome = AttemptOutcome { tally, trace };
        if transaction && let Err(trouble) = session.run(self.ending).await {
            self.doubt = UnansweredCommit::about(fingerprint, outcome.trace, outcome.tally);
            return Err(trouble);
        }
        if staged {
            self.metrics.staged_batches.inc();
        }
        Ok(outcome)
    }

    /// Readings, device state, command acknowledgements: in this order in every replica.
    async fn write_accepted(
        &mut self,
        session: &mut WriterConnection,
        batch: &Batch,
        road: WritePath,
    ) -> Result<WriteTally, StoreError> {
        let mut tally = WriteTally::default();
        if !batch.readings.is_empty() {
            let buffer = &mut self.buffer;
            match road {
                WritePath::Fast => tally.stored += readings::copy(session, buffer, &batch.readings).await?,
                WritePath::Sure => {
                    let mut section = StagedReadings { rows: &batch.readings, buffer };
                    tally.add(isolate(session, &mut section).await?);
                }
            }
        }
        if !batch.sightings.is_empty() || !batch.shadows.is_empty() {
            let section = StateChanges::new(&batch.sightings, &batch.shadows);
            tally.add(write_section(session, section, road).await?);
        }
        if !batch.command_acks.is_empty() {
            tally.add(write_section(session, CommandAcks::new(&batch.command_acks), road).await?);
        }
        Ok(tally)
    }

    /// Readings, events and counts at once. A refused message has no key to be told by, so while the answer is out it is
    /// noted how to tell.
    async fn write_mixed(
        &mut self,
        session: &mut WriterConnection,
        batch: &Batch,
        first: Uuid,
    ) -> Result<AttemptOutcome, StoreError> {
        self.unproven = Some((BatchFingerprint::of(batch), first));
        let written = single_statement::write(session, batch, first).await;
        if !matches!(written, Err(StoreError::Outage(_))) {
            self.unproven = None;
        }
        Ok(AttemptOutcome { tally: WriteTally { stored: written?, ..WriteTally::default() }, trace: None })
    }

    /// Quarantine and its counters. What goes wrong here no message can be blamed for. `same` is set when all readings were
    /// taken: a statement that came through took them too, so otherwise none did.
    async fn write_refused(
        &mut self,
        session: &mut WriterConnection,
        batch: &Batch,
        same: Option<&BatchFingerprint>,
    ) -> Result<Option<Trace>, StoreError> {
        // The readings stand in this transaction by now: they waited for the end of a statement that was still at work on
        // the same ones, and one that comes late fails on them. So what is not there will not come.
        if let Some((which, event)) = &self.unproven
            && same == Some(which)
            && quarantine_rows::holds(session, *event).await?
        {
            return Ok(None);
        }
        let event = quarantine_rows::first_id(&batch.quarantined);
        if let Some(first) = event {
            quarantine_rows::copy(session, &mut self.buffer, &batch.quarantined, first).await?;
        }
        if self.counted || (batch.refusal_counts.is_empty() && event.is_none()) {
            return Ok(None);
        }
        let unkept = Unkept { client_id: &self.client_id, batch, horizon: &mut self.horizon };
        let number = quarantine_rows::count(session, &batch.refusal_counts, unkept).await?;
        Ok(Some(Trace { number, event }))
    }

    /// If this batch was committed already and only the answer was lost: its receipt.
    async fn resolve_doubt(
        &mut self,
        session: &mut WriterConnection,
        batch: &mut Batch,
    ) -> Result<Option<Receipt>, StoreError> {
        let Some(doubt) = self.doubt.take_if(|doubt| doubt.batch == BatchFingerprint::of(batch)) else {
            self.doubt = None;
            return Ok(None);
        };
        match doubt.trace.fate(session).await {
            Ok(CommitOutcome::Committed) => {
                batch.reject(&doubt.tally.refused);
                Ok(Some(receipt(&doubt.tally)))
            }
            Ok(CommitOutcome::Counted) => {
                self.counted = true;
                Ok(None)
            }
            Ok(CommitOutcome::NotCommitted) | Err(StoreError::Data(_) | StoreError::Duplicate) => Ok(None),
            Err(StoreError::Outage(text)) => {
                self.doubt = Some(doubt);
                Err(StoreError::Outage(text))
            }
        }
    }
}

// --- private helpers ---

/// On the fast road a section is written whole; trouble with its data sends the batch down the sure one.
async fn write_section(
    session: &mut WriterConnection,
    mut section: impl Section,
    road: WritePath,
) -> Result<WriteTally, StoreError> {
    match road {
        WritePath::Fast => {
            let whole = 0..section.len();
            section.write(session, whole).await
        }
        WritePath::Sure => isolate(session, &mut section).await,
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.readings.is_empty()
        && batch.shadows.is_empty()
        && batch.command_acks.is_empty()
        && batch.quarantined.is_empty()
        && batch.refusal_counts.is_empty()
        && batch.suspects.is_empty()
        && batch.sightings.is_empty()
}

/// One statement is a transaction by itself: nothing to begin, nothing to take back.
fn is_one_statement(batch: &Batch) -> bool {
    let only_accepted =
        batch.command_acks.is_empty() && batch.quarantined.is_empty() && batch.refusal_counts.is_empty();
    let no_state = batch.shadows.is_empty() && batch.sightings.is_empty();
    single_statement::takes(batch) || only_accepted && (no_state || batch.readings.is_empty())
}

fn receipt(tally: &WriteTally) -> Receipt {
    Receipt { stored: tally.stored, duplicates: tally.duplicates, rejected: tally.refused.len() as u64 }
}
