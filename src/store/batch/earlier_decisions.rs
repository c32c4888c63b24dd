//! What was decided of a message before, when the broker delivers it again: a decision is kept, whatever changed since.
//!
//! Only of messages that the broker marks as repeated, and that their own time tells from all others. A batch without such
//! messages costs no query. It changes nothing in the database.

use std::collections::{HashSet, VecDeque};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::batch::{Batch, Decided};
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// In quarantine, or counted and not kept.
const REFUSED: &str = "SELECT message_id FROM quarantine_events WHERE message_id = ANY($1) AND event_ts IS NOT NULL \
    UNION ALL SELECT u.id FROM quarantine_unkept q, unnest(q.message_ids) AS u (id) WHERE u.id = ANY($1)";

/// In telemetry. The key is that of the unique index.
const STORED: &str = "SELECT g.message_id FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) \
    AS g (tenant_id, device_id, time, message_id) \
    WHERE EXISTS (SELECT FROM telemetry t WHERE t.tenant_id = g.tenant_id AND t.device_id = g.device_id \
        AND t.time = g.time AND t.message_id = g.message_id)";

/// Notes are kept of so many of the latest messages: two of the widest windows there are.
const MESSAGES_KEPT: u64 = 131_072;

/// Takes back what was decided before from a batch that holds repeated messages, and records the refusals that are new.
pub(super) async fn settle(session: &mut WriterConnection, batch: &mut Batch) -> Result<(), StoreError> {
    let repeats = batch.repeats();
    if repeats.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = repeats.iter().map(|repeat| repeat.message_id).collect();
    let refused = answer(sqlx::query_scalar(REFUSED).bind(ids).fetch_all(&mut session.connection)).await?;
    let (mut tenants, mut devices, mut times, mut ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for repeat in repeats.iter().filter(|repeat| repeat.is_refused) {
        let Some((tenant, device)) = batch.sender(repeat.origin) else { continue };
        tenants.push(tenant);
        devices.push(device);
        times.push(repeat.time.to_utc());
        ids.push(repeat.message_id);
    }
    let stored = if ids.is_empty() { Vec::new() } else { stored(session, (tenants, devices), times, ids).await? };
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
    let asked = sqlx::query_scalar(STORED).bind(tenants).bind(devices).bind(times).bind(ids);
    answer(asked.fetch_all(&mut session.connection)).await
}

fn set(ids: Vec<Uuid>) -> HashSet<Uuid> {
    ids.into_iter().collect()
}

/// From when on the notes of messages that were not kept are still needed.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// Messages of all batches so far.
    messages: u64,
    /// Batches that left a note, oldest first: how many messages had come by then, and when. The first stands for all
    /// that earlier runs left.
    notes: VecDeque<(u64, Timestamp)>,
}

// === impl Horizon ===

impl Horizon {
    /// A batch was written.
    pub fn passed(&mut self, batch: &Batch) {
        let Some(first) = batch.deliveries.first() else { return };
        if self.messages == 0 || !batch.unkept.is_empty() {
            self.notes.push_back((self.messages, first.received_at));
        }
        self.messages += batch.deliveries.len() as u64;
    }

    /// Notes from before this moment are too old to be asked for again.
    pub fn get(&mut self) -> Timestamp {
        let mut horizon = Timestamp::default();
        let messages = self.messages;
        while let Some((_, at)) = self.notes.pop_front_if(|(seen, _)| *seen + MESSAGES_KEPT < messages) {
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
        assert_eq!(horizon.get(), Timestamp::default(), "none is too old");
        horizon.messages = MESSAGES_KEPT + 11;
        assert_eq!((horizon.get(), horizon.get()), (second(2), Timestamp::default()));
        horizon.messages = MESSAGES_KEPT + 21;
        assert_eq!(horizon.get(), second(3));
    }
}
