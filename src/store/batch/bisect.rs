//! Finds the rows the database will not take by halving, and stores all the others in the same transaction.
//!
//! It quarantines nothing itself; it says which message and why.

use std::future::Future;
use std::ops::Range;

use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// Rows of one kind that can be written a part at a time.
pub(super) trait Section: Send {
    /// How many there are.
    fn len(&self) -> usize;

    /// Which message of the batch the row came from; none for a row no message can be blamed for.
    fn origin(&self, place: usize) -> Option<usize>;

    /// Writes those rows, all or none of them.
    fn write(
        &mut self,
        session: &mut WriterConnection,
        places: Range<usize>,
    ) -> impl Future<Output = Result<WriteTally, StoreError>> + Send;
}

/// What became of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriteTally {
    /// They took effect.
    pub stored: u64,
    /// They were there already, or overtaken.
    pub duplicates: u64,
    /// Messages that cannot be stored, and why.
    pub refused: Vec<(usize, String)>,
    /// How many of the refused were refused by the database for what they hold.
    pub poisoned: u64,
}

// === impl Tally ===

impl WriteTally {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.refused.extend(other.refused);
        self.poisoned += other.poisoned;
    }
}

/// Writes the whole section; where that fails for what a row holds, both halves, and so on down to the row. Each try has a
/// savepoint. `k` poisoned rows among `n` cost about `2 k log2 n` tries, and never more than `2 n`; at most `1 + log2 n`
/// parts wait at a time. Parts are written from left to right, so that the order of the rows is also the order of the locks.
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
            Err(StoreError::Duplicate) => "a row with this key is there already".to_owned(),
        };
        session.run("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
        if part.len() > 1 {
            let middle = part.start + part.len() / 2;
            waiting.push(middle..part.end);
            waiting.push(part.start..middle);
            continue;
        }
        // Without a message to blame the row is sluice's own, and sluice must not lose it.
        let origin = section.origin(part.start).ok_or_else(|| StoreError::Outage(why.clone()))?;
        tally.refused.push((origin, format!("Postgres refused the row: {why}")));
        tally.poisoned += 1;
    }
    Ok(tally)
}
