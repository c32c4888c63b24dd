//! The short way into `link_outbox`: the rows of one link that has room and no gap, which is the usual
//! case and costs less than half of the general one.
//!
//! Its gate adds the rows to what waits; without room, with a gap, or without a row of this replica in
//! `link_counts` it writes nothing at all, and [`super::forward_rows`] decides. The statement has no
//! parameter that a plan depends on, so Postgres plans it once. The gate also gives the transaction its
//! number before the rows get their ids; see [`crate::store::links::outbox`].

use super::columns::{Column, ColumnField, ColumnKind};
use crate::domain::link::Forward;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// After a closed gate so many batches go the general way: their rows are not sent twice.
const PAUSE: u32 = 8;

/// What a row counts besides its payload and topic; the statements have the same number.
const ROW_BYTES: i64 = 100;

/// The fields of a row besides its link.
pub(super) fn row_fields<'a>() -> [ColumnField<&'a Forward>; 11] {
    [
        (ColumnKind::Bigint, |to, row| to.bigint_or_null(Some(row.lane.into()))),
        (ColumnKind::Text, |to, row| to.clean_text(&row.tenant)),
        (ColumnKind::Text, |to, row| to.clean_text(&row.device)),
        (ColumnKind::Text, |to, row| to.bytes(&row.msg_type)),
        (ColumnKind::Text, |to, row| to.clean_text(&row.topic)),
        (ColumnKind::Text, |to, row| to.bytes(row.mode.label().as_bytes())),
        (ColumnKind::Bytes, |to, row| to.bytes(&row.payload)),
        (ColumnKind::Moment, |to, row| to.timestamp(row.time)),
        (ColumnKind::Moment, |to, row| to.timestamp(row.received_at)),
        (ColumnKind::Id, |to, row| to.uuid(row.message_id)),
        (ColumnKind::Text, |to, row| {
            let via = (!row.via.is_empty()).then(|| row.via.join("\n"));
            to.clean_text_or_null(via.as_deref());
        }),
    ]
}

/// The part of a statement that puts rows into the outbox, if the gate opens. Its first parameters are
/// those of [`RoomyLink::bind`].
macro_rules! enqueue_roomy {
    () => {
        "gate AS ( \
            UPDATE link_counts c SET messages = c.messages + $3, bytes = c.bytes + $4 \
            WHERE c.link = $1 AND c.writer = $2 AND NOT EXISTS (SELECT FROM link_gaps g WHERE g.link = $1) \
                AND (SELECT sum(w.bytes) FROM link_counts w WHERE w.link = $1) < $5 \
            RETURNING true AS opens), \
        queued AS ( \
            INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, \
                message_id, via) \
            SELECT $1, g.lane, g.tenant_id, g.device_id, g.msg_type, g.topic, g.mode, g.payload, g.time, g.received_at, \
                g.message_id, string_to_array(g.via, E'\\n') \
            FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], \
                $13::timestamptz[], $14::timestamptz[], $15::uuid[], $16::text[]) \
                WITH ORDINALITY AS g (lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, \
                message_id, via, place) \
            WHERE EXISTS (SELECT FROM gate) ORDER BY g.place)"
    };
}
pub(super) use enqueue_roomy;

/// The statement for a transaction that has written the other rows; it returns a row if the gate opens.
const STATEMENT: &str = concat!("WITH ", enqueue_roomy!(), " SELECT opens FROM gate");

/// The messages of one link, with the name of the replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomyLink<'a> {
    writer: &'a str,
    rows: &'a [&'a Forward],
    max_bytes: i64,
}

/// A query with its parameters.
pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

// === impl RoomyLink ===

impl<'a> RoomyLink<'a> {
    /// The short way for `rows`. `None`: they are of several links, or the gate was closed a moment ago.
    pub fn of(
        session: &mut WriterConnection,
        writer: &'a str,
        rows: &'a [&'a Forward],
    ) -> Option<Self> {
        let (first, others) = rows.split_first()?;
        // A character that Postgres replaces would change the number of bytes.
        let is_plain = |row: &&Forward| !row.topic.contains('\0');
        if others.iter().any(|row| row.link != first.link) || !rows.iter().all(is_plain) {
            return None;
        }
        if session.forwards_in_general > 0 {
            session.forwards_in_general -= 1;
            return None;
        }
        let max_bytes = first.backlog_max_bytes.min(i64::MAX as u64 / 2).cast_signed();
        Some(Self { writer, rows, max_bytes })
    }

    /// Writes the rows; false: the gate is closed, and nothing was written.
    pub async fn write(self, session: &mut WriterConnection) -> Result<bool, StoreError> {
        let query = self.bind(sqlx::query(STATEMENT));
        let opened = answer(query.execute(&mut session.connection)).await?.rows_affected() > 0;
        Ok(Self::learn(session, opened))
    }

    /// Remembers a closed gate.
    pub fn learn(session: &mut WriterConnection, has_opened: bool) -> bool {
        if !has_opened {
            session.forwards_in_general = PAUSE;
        }
        has_opened
    }

    /// Binds the parameters 1 to 16.
    pub fn bind(self, query: Query<'a>) -> Query<'a> {
        let bytes = |row: &&Forward| row.payload.len() + row.topic.len();
        let bytes = self.rows.iter().map(bytes).sum::<usize>();
        let count = i64::try_from(self.rows.len()).unwrap_or(i64::MAX);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(count * ROW_BYTES);
        let mut query = query
            .bind(self.rows.first().map_or("", |row| row.link.as_str()))
            .bind(self.writer)
            .bind(count)
            .bind(bytes)
            .bind(self.max_bytes);
        for column in Column::all(&row_fields(), self.rows) {
            query = query.bind(column);
        }
        query
    }
}
