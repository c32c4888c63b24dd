//! The rows of accepted messages in a transaction: readings, device state, command acknowledgements,
//! and what links forward of them.
//!
//! It begins and ends no transaction.

use std::collections::HashSet;

use super::bisect::{Section, WriteTally, isolate};
use super::commands::CommandAcks;
use super::device_state::StateChanges;
use super::forward_rows::ForwardRows;
use super::readings;
use super::staging::StagedReadings;
use crate::domain::batch::Batch;
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WritePath {
    /// All rows or none; a row that exists fails the transaction.
    Fast,
    /// Skips rows that exist, and isolates rows that cannot be stored.
    Safe,
}

/// Writes readings, device state and command acknowledgements: in this order in every replica, to
/// avoid deadlocks.
pub(super) async fn write(
    session: &mut WriterConnection,
    buffer: &mut CopyBuffer,
    batch: &Batch,
    path: WritePath,
) -> Result<WriteTally, StoreError> {
    let mut tally = WriteTally::default();
    if !batch.readings.is_empty() {
        match path {
            WritePath::Fast => {
                tally.stored += readings::copy(session, buffer, &batch.readings).await?;
            }
            WritePath::Safe => {
                let lists_new = !batch.forwards.is_empty();
                let mut section = StagedReadings { rows: &batch.readings, buffer, lists_new };
                tally.add(isolate(session, &mut section).await?);
            }
        }
    }
    if !batch.sightings.is_empty() || !batch.shadows.is_empty() {
        let section = StateChanges::new(&batch.sightings, &batch.shadows);
        tally.add(write_section(session, section, path).await?);
    }
    if !batch.command_acks.is_empty() {
        tally.add(write_section(session, CommandAcks::new(&batch.command_acks), path).await?);
    }
    Ok(tally)
}

/// Writes what links forward, of the messages that took effect. A message that an earlier attempt or
/// another replica has stored was forwarded with it. `writer` is the name of this replica.
pub(super) async fn forward(
    session: &mut WriterConnection,
    writer: &str,
    batch: &Batch,
    tally: &WriteTally,
    path: WritePath,
) -> Result<(), StoreError> {
    let mut effective: HashSet<usize> = tally.effective.iter().copied().collect();
    if path == WritePath::Fast {
        effective.extend(batch.readings.iter().map(|row| row.origin));
    }
    let rows = ForwardRows::effective(&batch.forwards, Some(&effective));
    if rows.is_empty() {
        return Ok(());
    }
    ForwardRows { writer, rows: &rows }.write(session).await
}

// === private helpers ===

/// Writes a section as a whole on the fast path; an error of its data moves the batch to the safe
/// path.
async fn write_section(
    session: &mut WriterConnection,
    mut section: impl Section,
    path: WritePath,
) -> Result<WriteTally, StoreError> {
    match path {
        WritePath::Fast => {
            let whole = 0..section.len();
            section.write(session, whole).await
        }
        WritePath::Safe => isolate(session, &mut section).await,
    }
}
