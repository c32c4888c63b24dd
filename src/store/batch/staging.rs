//! The safe path into `telemetry`: through a temporary table, so that a row that exists is skipped.
//!
//! It fails on no duplicate and never changes a stored row.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::bisect::{Section, WriteTally};
use super::readings;
use crate::domain::message::Reading;
use crate::domain::time::Timestamp;
use crate::store::connection::copy_buffer::CopyBuffer;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Created once per connection, with the columns of `telemetry` and no index; empty after each
/// transaction.
const CREATE: &str =
    "CREATE TEMPORARY TABLE IF NOT EXISTS sluice_staging (LIKE telemetry) ON COMMIT DELETE ROWS";

const COPY: &str = "COPY pg_temp.sluice_staging \
    (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
    FROM STDIN (FORMAT binary)";

/// Moves the staged rows into `telemetry`, sorted by the unique key: two replicas with the same
/// messages wait for each other instead of deadlocking. It returns a row for each that is new: the
/// number of rows that the server reports is wrong on Citus (its issue 3377).
macro_rules! move_staged {
    () => {
        "WITH moved AS (DELETE FROM pg_temp.sluice_staging RETURNING *) \
            INSERT INTO telemetry \
            (time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id) \
            SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, certificate_id \
            FROM moved ORDER BY tenant_id, device_id, time, message_id ON CONFLICT DO NOTHING RETURNING "
    };
}

const MOVE: &str = concat!(move_staged!(), "true");

/// The same; returns the keys of the rows that are new.
const MOVE_AND_LIST: &str = concat!(move_staged!(), "tenant_id, device_id, time, message_id");

/// Readings of which some may exist, or may be refused by Postgres.
#[derive(Debug)]
pub(super) struct StagedReadings<'a> {
    pub rows: &'a [Reading],
    pub buffer: &'a mut CopyBuffer,
    /// Whether to list the messages whose rows are new.
    pub lists_new: bool,
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
        let (stored, effective) = if self.lists_new {
            let effective = move_and_list(session, rows).await?;
            (effective.len(), effective)
        } else {
            let query = sqlx::query(MOVE);
            (answer(query.fetch_all(&mut session.connection)).await?.len(), Vec::new())
        };
        let stored = stored as u64;
        let duplicates = staged.saturating_sub(stored);
        Ok(WriteTally { stored, duplicates, effective, ..WriteTally::default() })
    }
}

/// Moves the staged rows; returns the messages of those that are new.
async fn move_and_list(
    session: &mut WriterConnection,
    rows: &[Reading],
) -> Result<Vec<usize>, StoreError> {
    let query = sqlx::query_as(MOVE_AND_LIST);
    let new: Vec<(String, String, DateTime<Utc>, Uuid)> =
        answer(query.fetch_all(&mut session.connection)).await?;
    // Of two rows with one key the first is taken.
    let mut origins: HashMap<_, usize> = HashMap::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let device = (row.device.tenant(), row.device.device());
        origins.insert((device, row.time, row.message_id), row.origin);
    }
    let origin = |(tenant, device, time, id): &(String, String, DateTime<Utc>, Uuid)| {
        origins.get(&((tenant.as_str(), device.as_str()), Timestamp::from(*time), *id)).copied()
    };
    Ok(new.iter().filter_map(origin).collect())
}
