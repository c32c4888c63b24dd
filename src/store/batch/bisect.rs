//! Isolates by halving the rows that Postgres refuses, and stores all others in the same
//! transaction.
//!
//! It quarantines nothing; it returns the refused messages with the reason.

use std::future::Future;
use std::ops::Range;

use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// Rows of one kind that can be written in parts.
pub(super) trait Section: Send {
    /// The number of rows.
    fn len(&self) -> usize;

    /// The index of the message that the row at `place` came from. `None` means the row is Sluice's
    /// own.
    fn origin(&self, place: usize) -> Option<usize>;

    /// Writes the rows at `places`, all or none.
    fn write(
        &mut self,
        session: &mut WriterConnection,
        places: Range<usize>,
    ) -> impl Future<Output = Result<WriteTally, StoreError>> + Send;
}

/// The result of writing rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriteTally {
    /// Rows that took effect.
    pub stored: u64,
    /// Rows that existed, or were superseded.
    pub duplicates: u64,
    /// Indexes of messages that cannot be stored, each with the reason.
    pub refused: Vec<(usize, String)>,
    /// Refused messages that Postgres refused for their content.
    pub poisoned: u64,
    /// For each command that has got its final verdict, the microseconds since it was created.
    pub answered_micros: Vec<i64>,
    /// Indexes of messages whose rows took effect. The fast path for readings leaves them out: there
    /// all have; and so does the safe path for a batch that no link forwards.
    pub effective: Vec<usize>,
}

// === impl WriteTally ===

impl WriteTally {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.refused.extend(other.refused);
        self.poisoned += other.poisoned;
        self.answered_micros.extend(other.answered_micros);
        self.effective.extend(other.effective);
    }
}

/// Writes the whole section; after an error of the data it writes both halves, down to single rows.
/// Each attempt has a savepoint. `k` refused rows among `n` cost about `2 k log2 n` attempts and at
/// most `2 n`; at most `1 + log2 n` parts wait at a time. Parts are written from left to right, so
/// that the order of rows is the order of locks.
pub(super) async fn isolate(
    session: &mut WriterConnection,
    section: &mut impl Section,
) -> Result<WriteTally, StoreError> {
    let mut tally = WriteTally::default();
    let whole = 0..section.len();
    let mut waiting = if whole.is_empty() { Vec::new() } else { vec![whole] };
    while let Some(part) = waiting.pop() {
        session.run("SAVEPOINT part").await?;
        let why = match section.write(session, part.clone()).await {
            Ok(written) => {
                session.run("RELEASE SAVEPOINT part").await?;
                tally.add(written);
                continue;
            }
            Err(StoreError::Outage(text)) => return Err(StoreError::Outage(text)),
            Err(StoreError::Data(why)) => why,
            Err(StoreError::Duplicate) => "a row with this key exists already".to_owned(),
        };
        session.run("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
        if part.len() > 1 {
            let middle = part.start + part.len() / 2;
            waiting.push(middle..part.end);
            waiting.push(part.start..middle);
            continue;
        }
        // A row without a message is Sluice's own and must not be lost.
        let origin = section.origin(part.start).ok_or_else(|| StoreError::Outage(why.clone()))?;
        tally.refused.push((origin, format!("Postgres refused the row: {why}")));
        tally.poisoned += 1;
    }
    Ok(tally)
}
