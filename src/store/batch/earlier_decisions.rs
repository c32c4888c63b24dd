//! Finds the earlier decision about a redelivered message: it stays in force, even if the
//! registry changed since.
//!
//! It covers messages that the broker marks as redelivered and that carry their own time. A batch
//! without such messages costs no query. It changes nothing in the database.

use std::collections::{HashSet, VecDeque};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::batch::{Batch, Decided};
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Finds messages in quarantine, and messages that were counted and not stored.
const REFUSED: &str = "SELECT message_id FROM quarantine_events WHERE message_id = ANY($1) AND event_ts IS NOT NULL \
    UNION ALL SELECT u.id FROM quarantine_unkept q, unnest(q.message_ids) AS u (id) WHERE u.id = ANY($1)";

/// Finds messages in telemetry, by the key of the unique index.
/// A join, since Citus plans no EXISTS over a list.
const STORED: &str = "SELECT t.message_id FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) \
    AS g (tenant_id, device_id, time, message_id) \
    JOIN telemetry t ON t.tenant_id = g.tenant_id AND t.device_id = g.device_id \
        AND t.time = g.time AND t.message_id = g.message_id";

/// Notes cover this number of the latest messages: twice the largest receive window.
const MESSAGES_KEPT: u64 = 131_072;

/// Applies earlier decisions to a batch with redelivered messages, and records the refusals that
/// are new.
pub(super) async fn settle(
    session: &mut WriterConnection,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let repeats = batch.repeats();
    if repeats.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = repeats.iter().map(|repeat| repeat.message_id).collect();
    let refused =
        answer(sqlx::query_scalar(REFUSED).bind(ids).fetch_all(&mut session.connection)).await?;
    let (mut tenants, mut devices, mut times, mut ids) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for repeat in repeats.iter().filter(|repeat| repeat.is_refused) {
        let Some((tenant, device)) = batch.sender(repeat.origin) else { continue };
        tenants.push(tenant);
        devices.push(device);
        times.push(repeat.time.to_utc());
        ids.push(repeat.message_id);
    }
    let stored = if ids.is_empty() {
        Vec::new()
    } else {
        stored(session, (tenants, devices), times, ids).await?
    };
    let decided = Decided { refused: set(refused), stored: set(stored) };
    batch.settle(&decided);
    Ok(())
}

async fn stored(
    session: &mut WriterConnection,
    (tenants, devices): (Vec<&str>, Vec<&str>),
    times: Vec<DateTime<Utc>>,
    ids: Vec<Uuid>,
) -> Result<Vec<Uuid>, StoreError> {
    let query = sqlx::query_scalar(STORED).bind(tenants).bind(devices).bind(times).bind(ids);
    answer(query.fetch_all(&mut session.connection)).await
}

fn set(ids: Vec<Uuid>) -> HashSet<Uuid> {
    ids.into_iter().collect()
}

/// Tracks from which time on the notes of messages that were not stored are needed.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// Number of messages in all batches so far.
    messages: u64,
    /// Batches with a note, oldest first: the number of messages before it, and its time. The first
    /// covers the notes of earlier runs.
    notes: VecDeque<(u64, Timestamp)>,
}

// === impl Horizon ===

impl Horizon {
    /// Records a stored batch.
    pub fn record_batch(&mut self, batch: &Batch) {
        let Some(first) = batch.deliveries.first() else { return };
        if self.messages == 0 || !batch.unkept.is_empty() {
            self.notes.push_back((self.messages, first.received_at));
        }
        self.messages += batch.deliveries.len() as u64;
    }

    /// Returns the time before which notes are obsolete, once; then the default until it advances.
    pub fn advance(&mut self) -> Timestamp {
        let mut horizon = Timestamp::default();
        let messages = self.messages;
        while let Some((_, at)) =
            self.notes.pop_front_if(|(seen, _)| *seen + MESSAGES_KEPT < messages)
        {
            horizon = at;
        }
        horizon
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_needed_until_two_windows_have_passed() {
        let mut horizon = Horizon::default();
        let second = |second: i64| Timestamp::default().plus_seconds(second);
        horizon.notes.extend([(0, second(1)), (10, second(2)), (20, second(3))]);
        horizon.messages = MESSAGES_KEPT;
        assert_eq!(horizon.advance(), Timestamp::default(), "none is too old");
        horizon.messages = MESSAGES_KEPT + 11;
        assert_eq!((horizon.advance(), horizon.advance()), (second(2), Timestamp::default()));
        horizon.messages = MESSAGES_KEPT + 21;
        assert_eq!(horizon.advance(), second(3));
    }
}
