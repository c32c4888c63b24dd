//! The identities of stored events, in `link_event_ids`: an event that a link delivers twice is one
//! row, also when it has no time of its own.
//!
//! The unique index of telemetry has the time in it, and an event without a time has another one at
//! each delivery. An identity is kept for [`super::super::schema::retention::EVENT_IDS_KEPT_DAYS`]
//! days. A batch without events costs no statement.

use std::collections::HashSet;

use crate::domain::batch::Batch;
use crate::domain::ids::DeviceKey;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Finds the events that are stored.
const FIND: &str = "SELECT e.tenant_id, e.device_id, e.message_id FROM link_event_ids e \
    JOIN unnest($1::text[], $2::text[], $3::uuid[]) AS g (tenant_id, device_id, message_id) \
    USING (tenant_id, device_id, message_id)";

/// Notes events in the order of the key, so that two replicas wait for each other instead of
/// deadlocking.
const NOTE: &str = "INSERT INTO link_event_ids (tenant_id, device_id, message_id) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) AS g (tenant_id, device_id, message_id) \
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING";

/// The keys of the events of a batch, as columns.
struct Keys<'b> {
    tenants: Vec<&'b str>,
    devices: Vec<&'b str>,
    ids: Vec<uuid::Uuid>,
}

/// Whether the batch has events.
pub(super) fn has_events(batch: &Batch) -> bool {
    batch.events().next().is_some()
}

/// Removes the events that are stored. Before the transaction: what it finds is committed.
pub(super) async fn settle(
    session: &mut WriterConnection,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let Keys { tenants, devices, ids } = Keys::of(batch);
    let query = sqlx::query_as(FIND).bind(tenants).bind(devices).bind(ids);
    let found: Vec<(String, String, uuid::Uuid)> =
        answer(query.fetch_all(&mut session.connection)).await?;
    let key = |(tenant, device, id): (String, String, uuid::Uuid)| {
        DeviceKey::new(&tenant, &device).ok().map(|device| (device, id))
    };
    let stored: HashSet<_> = found.into_iter().filter_map(key).collect();
    batch.settle_events(&stored);
    Ok(())
}

/// Notes the events of the batch, in its transaction. It fails if another replica has stored one of
/// them since [`settle`]: the next attempt finds that.
pub(super) async fn note(session: &mut WriterConnection, batch: &Batch) -> Result<(), StoreError> {
    let Keys { tenants, devices, ids } = Keys::of(batch);
    let events = ids.len() as u64;
    let query = sqlx::query(NOTE).bind(tenants).bind(devices).bind(ids);
    let noted = answer(query.execute(&mut session.connection)).await?.rows_affected();
    if noted == events {
        Ok(())
    } else {
        Err(StoreError::Outage("another replica stores the same event".into()))
    }
}

// === impl Keys ===

impl<'b> Keys<'b> {
    fn of(batch: &'b Batch) -> Self {
        let mut keys = Self { tenants: Vec::new(), devices: Vec::new(), ids: Vec::new() };
        for row in batch.events() {
            keys.tenants.push(row.device.tenant());
            keys.devices.push(row.device.device());
            keys.ids.push(row.message_id);
        }
        keys
    }
}
