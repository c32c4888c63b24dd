//! Rows of `link_outbox` for the messages of a batch that links forward, in the transaction of the
//! batch.
//!
//! A link whose backlog is full gets no rows: a gap begins, and its sender reads the messages back
//! from `telemetry` later. While there is a gap, all messages of the link go into it, so that none
//! overtakes another. Messages that `telemetry` does not have go into the outbox all the same, up to
//! [`RESERVE`] above the bound; beyond that they are counted as lost. It rejects no message: an
//! accepted message is stored, whatever becomes of it at a link.
//!
//! The rows of a gap are locked FOR KEY SHARE, so that no refill ends the gap before this batch has
//! committed; see [`crate::store::links::gap`]. The transaction gets its number before the rows get
//! their ids; see [`crate::store::links::outbox`]. A row that was deleted meanwhile counts as no gap.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use super::columns::{Column, ColumnField, ColumnKind};
use super::roomy_link::{Query, RoomyLink, row_fields};
use crate::domain::link::Forward;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Part of the bound that is kept for messages that cannot be read back: one of this number.
const RESERVE: i64 = 4;

/// The fields that only the general way has.
fn general_fields<'a>() -> [ColumnField<&'a Forward>; 2] {
    [
        (ColumnKind::Text, |to, row| to.bytes(row.link.as_str().as_bytes())),
        (ColumnKind::Bigint, |to, row| to.bigint_or_null(Some(row.is_refillable.into()))),
    ]
}

/// The part of a statement that puts rows into the outbox or notes the gap. Its first parameters are
/// those of [`bind`].
macro_rules! enqueue {
    () => {
        "gap AS MATERIALIZED ( \
            SELECT link FROM link_gaps WHERE link = ANY ($1::text[]) ORDER BY link, writer FOR KEY SHARE), \
        room AS MATERIALIZED ( \
            SELECT p.link, p.from_at, p.refillable, p.others, pg_current_xact_id() AS transaction, \
                w.waiting < p.max_bytes AND NOT EXISTS (SELECT FROM gap WHERE gap.link = p.link) AS queues, \
                w.waiting < p.max_bytes + p.max_bytes / $6 AS queues_others \
            FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[]) \
                AS p (link, max_bytes, from_at, refillable, others), \
                LATERAL (SELECT coalesce(sum(c.bytes), 0) AS waiting FROM link_counts c WHERE c.link = p.link) w), \
        queued AS ( \
            INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, \
                message_id, via) \
            SELECT g.link, g.lane, g.tenant_id, g.device_id, g.msg_type, g.topic, g.mode, g.payload, g.time, g.received_at, \
                g.message_id, string_to_array(g.via, E'\\n') \
            FROM unnest($8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], \
                $15::text[], $16::bytea[], $17::timestamptz[], $18::timestamptz[], $19::uuid[], $20::text[]) \
                WITH ORDINALITY AS g (link, is_refillable, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, \
                received_at, message_id, via, place) \
            JOIN room USING (link) WHERE queues OR (g.is_refillable = 0 AND queues_others) ORDER BY g.place \
            RETURNING link, octet_length(payload) + octet_length(topic) + 100 AS bytes), \
        counted AS ( \
            INSERT INTO link_counts AS c (link, writer, messages, bytes) \
            SELECT link, $7, count(*), sum(bytes) FROM queued GROUP BY link ORDER BY link \
            ON CONFLICT (link, writer) DO UPDATE SET \
                messages = c.messages + excluded.messages, bytes = c.bytes + excluded.bytes), \
        gaps AS ( \
            INSERT INTO link_gaps AS g (link, writer, from_at, messages, lost) \
            SELECT link, $7, coalesce(from_at, now()), refillable, CASE WHEN queues_others THEN 0 ELSE others END \
            FROM room WHERE NOT queues AND (refillable > 0 OR NOT queues_others) ORDER BY link \
            ON CONFLICT (link, writer) DO UPDATE SET from_at = least(g.from_at, excluded.from_at), \
                messages = g.messages + excluded.messages, lost = g.lost + excluded.lost)"
    };
}
pub(super) use enqueue;

/// The statement for a transaction that has written the other rows.
const STATEMENT: &str = concat!("WITH ", enqueue!(), " SELECT 1");

/// What the outbox has to know of the messages of one link.
#[derive(Debug, Default)]
struct LinkSums {
    max_bytes: i64,
    from_at: Option<Timestamp>,
    refillable: i64,
    others: i64,
}

/// The messages to forward, with the name of the replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardRows<'a> {
    pub writer: &'a str,
    pub rows: &'a [&'a Forward],
}

// === impl ForwardRows ===

impl<'a> ForwardRows<'a> {
    /// Those of `forwards` whose message has taken effect; `None` means all have.
    pub fn effective(
        forwards: &'a [Forward],
        effective: Option<&HashSet<usize>>,
    ) -> Vec<&'a Forward> {
        let has_effect =
            |row: &&Forward| effective.is_none_or(|effective| effective.contains(&row.origin));
        forwards.iter().filter(has_effect).collect()
    }

    /// Writes the rows.
    pub async fn write(self, session: &mut WriterConnection) -> Result<(), StoreError> {
        if let Some(roomy) = RoomyLink::of(session, self.writer, self.rows)
            && roomy.write(session).await?
        {
            return Ok(());
        }
        let query = self.bind(sqlx::query(STATEMENT));
        answer(query.execute(&mut session.connection)).await.map(drop)
    }

    /// Binds the parameters 1 to 20.
    pub fn bind(self, query: Query<'a>) -> Query<'a> {
        let mut links: BTreeMap<&str, LinkSums> = BTreeMap::new();
        for row in self.rows {
            links.entry(row.link.as_str()).or_default().add(row);
        }
        let moment = |sums: &LinkSums| sums.from_at.map(Timestamp::to_utc);
        let sums = |part: fn(&LinkSums) -> i64| links.values().map(part).collect::<Vec<i64>>();
        let mut query = query
            .bind(links.keys().copied().collect::<Vec<&str>>())
            .bind(sums(|sums| sums.max_bytes))
            .bind(links.values().map(moment).collect::<Vec<Option<DateTime<Utc>>>>())
            .bind(sums(|sums| sums.refillable))
            .bind(sums(|sums| sums.others))
            .bind(RESERVE)
            .bind(self.writer);
        let (general, fields) = (general_fields(), row_fields());
        let general = Column::all(&general, self.rows);
        for column in general.chain(Column::all(&fields, self.rows)) {
            query = query.bind(column);
        }
        query
    }
}

// === impl LinkSums ===

impl LinkSums {
    fn add(&mut self, row: &Forward) {
        self.max_bytes = row.backlog_max_bytes.min(i64::MAX as u64 / 2).cast_signed();
        if row.is_refillable {
            self.refillable += 1;
            self.from_at = self.from_at.into_iter().chain([row.received_at]).min();
        } else {
            self.others += 1;
        }
    }
}
