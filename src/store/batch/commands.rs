//! Acknowledges rows of `device_commands`. An unknown command is refused; one acknowledged before
//! is a duplicate.
//!
//! It does not refuse a command that has expired: the device has executed it.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::bisect::{Section, WriteTally};
use crate::domain::message::CommandAck;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Locks in the order of the key, so that replicas lock in the same order; returns for each command
/// found whether it was acknowledged before.
const ACKNOWLEDGE: &str = "WITH given AS ( \
        SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[]) WITH ORDINALITY \
        AS g (tenant_id, device_id, command_id, details, acked_at, place)), \
    found AS MATERIALIZED ( \
        SELECT g.place, g.details, g.acked_at, c.tenant_id, c.device_id, c.command_id, c.status = 'ACKNOWLEDGED' AS before \
        FROM device_commands c JOIN given g USING (tenant_id, device_id, command_id) \
        ORDER BY c.tenant_id, c.device_id, c.command_id FOR UPDATE OF c), \
    changed AS ( \
        UPDATE device_commands c SET status = 'ACKNOWLEDGED', acked_at = f.acked_at, ack_details = f.details::jsonb \
        FROM found f WHERE NOT f.before \
        AND c.tenant_id = f.tenant_id AND c.device_id = f.device_id AND c.command_id = f.command_id) \
    SELECT place, before FROM found";

/// All acknowledgements of a batch.
#[derive(Debug)]
pub(super) struct CommandAcks<'a> {
    acks: Vec<&'a CommandAck>,
}

// === impl CommandAcks ===

impl<'a> CommandAcks<'a> {
    /// Sorts by command; acknowledgements of one command keep the order of arrival, and the first
    /// counts.
    pub fn new(acks: &'a [CommandAck]) -> Self {
        let mut acks: Vec<_> = acks.iter().collect();
        acks.sort_by(|one, other| key(one).cmp(&key(other)));
        Self { acks }
    }
}

impl Section for CommandAcks<'_> {
    fn len(&self) -> usize {
        self.acks.len()
    }

    fn origin(&self, place: usize) -> Option<usize> {
        Some(self.acks[place].origin)
    }

    async fn write(
        &mut self,
        session: &mut WriterConnection,
        places: Range<usize>,
    ) -> Result<WriteTally, StoreError> {
        let commands: Vec<&[&CommandAck]> =
            self.acks[places].chunk_by(|one, other| key(one) == key(other)).collect();
        let firsts = || commands.iter().map(|acks| acks[0]);
        let details: Vec<&str> = firsts()
            .map(|ack| std::str::from_utf8(&ack.details))
            .collect::<Result<_, _>>()
            .map_err(|_| StoreError::Data("the details are not UTF-8".into()))?;
        let query = sqlx::query_as(ACKNOWLEDGE)
            .bind(firsts().map(|ack| ack.device.tenant()).collect::<Vec<&str>>())
            .bind(firsts().map(|ack| ack.device.device()).collect::<Vec<&str>>())
            .bind(firsts().map(|ack| ack.command_id).collect::<Vec<Uuid>>())
            .bind(details)
            .bind(firsts().map(|ack| ack.received_at.to_utc()).collect::<Vec<DateTime<Utc>>>());
        let found: Vec<(i64, bool)> = answer(query.fetch_all(&mut session.connection)).await?;
        let found: HashMap<i64, bool> = found.into_iter().collect();
        let mut tally = WriteTally::default();
        for (place, acks) in (1..).zip(&commands) {
            let repeats = acks.len() as u64 - 1;
            match found.get(&place) {
                Some(false) => tally.add(WriteTally {
                    stored: 1,
                    duplicates: repeats,
                    ..WriteTally::default()
                }),
                Some(true) => tally.duplicates += repeats + 1,
                None => tally.refused.extend(acks.iter().map(|ack| (ack.origin, unknown(ack)))),
            }
        }
        Ok(tally)
    }
}

fn key(ack: &CommandAck) -> (&crate::domain::ids::DeviceKey, Uuid) {
    (&ack.device, ack.command_id)
}

fn unknown(ack: &CommandAck) -> String {
    format!("command {} not found for this device", ack.command_id)
}
