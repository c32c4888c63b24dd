//! Acknowledges rows of `device_commands`. An unknown command is refused. The first final verdict
//! counts; later ones are duplicates.
//!
//! It does not refuse a command that has expired: the device has executed it, and its verdict
//! replaces EXPIRED. A cancelled command stays cancelled; the first verdict is kept in its details.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::bisect::{Section, WriteTally};
use crate::domain::message::CommandAck;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Locks in the order of the key, so that replicas lock in the same order; returns for each command
/// found whether the verdict took effect, and the microseconds since the command was created if it
/// is final.
const ACKNOWLEDGE: &str = "WITH given AS ( \
        SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[]) WITH ORDINALITY \
        AS g (tenant_id, device_id, command_id, details, acked_at, verdict, place)), \
    found AS MATERIALIZED ( \
        SELECT g.place, g.details::jsonb AS details, g.acked_at, g.verdict, c.tenant_id, c.device_id, c.command_id, \
            c.created_at, c.status, \
            CASE WHEN c.status IN ('PENDING', 'PUBLISHED') THEN true \
                WHEN c.status = 'IN_PROGRESS' \
                    THEN g.verdict <> 'IN_PROGRESS' OR c.ack_details IS DISTINCT FROM g.details::jsonb \
                WHEN c.status = 'EXPIRED' THEN g.verdict <> 'IN_PROGRESS' \
                WHEN c.status = 'CANCELLED' THEN c.ack_details IS NULL \
                ELSE false END AS counts \
        FROM device_commands c JOIN given g USING (tenant_id, device_id, command_id) \
        ORDER BY c.tenant_id, c.device_id, c.command_id FOR UPDATE OF c), \
    changed AS ( \
        UPDATE device_commands c SET ack_details = f.details, \
            status = CASE f.status WHEN 'CANCELLED' THEN f.status ELSE f.verdict END, \
            acked_at = CASE WHEN f.verdict = 'IN_PROGRESS' AND f.status <> 'CANCELLED' THEN c.acked_at ELSE f.acked_at END, \
            finished_at = CASE WHEN f.verdict = 'IN_PROGRESS' OR f.status = 'CANCELLED' THEN c.finished_at ELSE f.acked_at END \
        FROM found f WHERE f.counts \
        AND c.tenant_id = f.tenant_id AND c.device_id = f.device_id AND c.command_id = f.command_id) \
    SELECT place, counts, CASE WHEN counts AND verdict <> 'IN_PROGRESS' AND status <> 'CANCELLED' AND isfinite(created_at) \
        THEN (extract(epoch FROM acked_at - created_at) * 1000000)::bigint END FROM found";

/// All acknowledgements of a batch.
#[derive(Debug)]
pub(super) struct CommandAcks<'a> {
    acks: Vec<&'a CommandAck>,
}

// === impl CommandAcks ===

impl<'a> CommandAcks<'a> {
    /// Sorts by command; acknowledgements of one command keep the order of arrival.
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
        let given = || commands.iter().filter_map(|acks| counting(acks));
        let details: Vec<&str> = given()
            .map(|ack| std::str::from_utf8(&ack.details))
            .collect::<Result<_, _>>()
            .map_err(|_| StoreError::Data("the details are not UTF-8".into()))?;
        let query = sqlx::query_as(ACKNOWLEDGE)
            .bind(given().map(|ack| ack.device.tenant()).collect::<Vec<&str>>())
            .bind(given().map(|ack| ack.device.device()).collect::<Vec<&str>>())
            .bind(given().map(|ack| ack.command_id).collect::<Vec<Uuid>>())
            .bind(details)
            .bind(given().map(|ack| ack.received_at.to_utc()).collect::<Vec<DateTime<Utc>>>())
            .bind(given().map(|ack| ack.verdict.command_status()).collect::<Vec<&str>>());
        let found: Vec<(i64, bool, Option<i64>)> =
            answer(query.fetch_all(&mut session.connection)).await?;
        let found: HashMap<i64, (bool, Option<i64>)> =
            found.into_iter().map(|(place, counts, age)| (place, (counts, age))).collect();
        let mut tally = WriteTally::default();
        for (place, acks) in (1..).zip(&commands) {
            let repeats = acks.len() as u64 - 1;
            match found.get(&place) {
                Some((true, age)) => tally.add(WriteTally {
                    stored: 1,
                    duplicates: repeats,
                    answered_micros: age.iter().copied().collect(),
                    effective: counting(acks).map(|ack| ack.origin).into_iter().collect(),
                    ..WriteTally::default()
                }),
                Some((false, _)) => tally.duplicates += repeats + 1,
                None => tally.refused.extend(acks.iter().map(|ack| (ack.origin, unknown(ack)))),
            }
        }
        Ok(tally)
    }
}

/// The acknowledgement that counts among those of one command, in the order of arrival: the first
/// final one, or else the last.
fn counting<'a>(acks: &[&'a CommandAck]) -> Option<&'a CommandAck> {
    acks.iter().find(|ack| ack.verdict.is_final()).or(acks.last()).copied()
}

fn key(ack: &CommandAck) -> (&crate::domain::ids::DeviceKey, Uuid) {
    (&ack.device, ack.command_id)
}

fn unknown(ack: &CommandAck) -> String {
    format!("command {} not found for this device", ack.command_id)
}
