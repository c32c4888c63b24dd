//! The sure road into `telemetry`: through a temporary table, so that a row that is there already is skipped.

use std::ops::Range;

use super::bisect::{Section, WriteTally};
use super::copy::CopyBuffer;
use super::readings;
use crate::domain::message::Reading;
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// Made once per connection; it has the columns of `telemetry`, no index, and is empty after each transaction.
const CREATE: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS sluice_staging (LIKE telemetry) ON COMMIT DELETE ROWS";

const COPY: &str = "COPY pg_temp.sluice_staging \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    FROM STDIN (FORMAT binary)";

/// Empties the staging table into the real one. Sorted by the unique key, so that two replicas with the same messages
/// wait for each other instead of deadlocking.
const MOVE: &str = "WITH moved AS (DELETE FROM pg_temp.sluice_staging RETURNING *) \
    INSERT INTO telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id \
    FROM moved ORDER BY tenant_id, device_id, time, message_id ON CONFLICT DO NOTHING";

/// Readings that may be there already, or may hold a poisoned row.
#[derive(Debug)]
pub(super) struct StagedReadings<'a> {
    pub rows: &'a [Reading],
    pub buffer: &'a mut CopyBuffer,
}

/// Makes the staging table, once per connection and outside of any transaction.
pub(super) async fn prepare(session: &mut WriterConnection) -> Result<(), StoreError> {
    if !session.has_staging {
        session.run(CREATE).await?;
        session.has_staging = true;
    }
    Ok(())
}

// === impl StagedReadings ===

impl Section for StagedReadings<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn origin(&self, place: usize) -> Option<usize> {
        Some(self.rows[place].origin)
    }

    async fn write(&mut self, session: &mut WriterConnection, places: Range<usize>) -> Result<WriteTally, StoreError> {
        let rows = &self.rows[places];
        let staged = session.copy(COPY, self.buffer, rows, readings::put).await?;
        let stored = session.run(MOVE).await?;
        Ok(WriteTally { stored, duplicates: staged.saturating_sub(stored), ..WriteTally::default() })
    }
}
