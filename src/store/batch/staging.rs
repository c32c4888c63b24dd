//! The safe path into `telemetry`: through a temporary table, so that a row that exists is skipped.
//!
//! It fails on no duplicate and never changes a stored row.

use std::ops::Range;

use super::bisect::{Section, WriteTally};
use super::readings;
use crate::domain::message::Reading;
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::writer_connection::WriterConnection;
use crate::store::error::StoreError;

/// Created once per connection, with the columns of `telemetry` and no index; empty after each
/// transaction.
const CREATE: &str =
    "CREATE TEMPORARY TABLE IF NOT EXISTS sluice_staging (LIKE telemetry) ON COMMIT DELETE ROWS";

const COPY: &str = "COPY pg_temp.sluice_staging \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    FROM STDIN (FORMAT binary)";

/// Moves the staged rows into `telemetry`, sorted by the unique key: two replicas with the same
/// messages wait for each other instead of deadlocking.
const MOVE: &str = "WITH moved AS (DELETE FROM pg_temp.sluice_staging RETURNING *) \
    INSERT INTO telemetry \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id) \
    SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id \
    FROM moved ORDER BY tenant_id, device_id, time, message_id ON CONFLICT DO NOTHING";

/// Readings of which some may exist, or may be refused by Postgres.
#[derive(Debug)]
pub(super) struct StagedReadings<'a> {
    pub rows: &'a [Reading],
    pub buffer: &'a mut CopyBuffer,
}

/// Creates the staging table, once per connection and outside of any transaction.
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

    async fn write(
        &mut self,
        session: &mut WriterConnection,
        places: Range<usize>,
    ) -> Result<WriteTally, StoreError> {
        let rows = &self.rows[places];
        let staged = session.copy(COPY, self.buffer, rows, readings::put).await?;
        let stored = session.run(MOVE).await?;
        Ok(WriteTally {
            stored,
            duplicates: staged.saturating_sub(stored),
            ..WriteTally::default()
        })
    }
}
