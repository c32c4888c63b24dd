//! What waits for a link.
//!
//! It changes nothing.

use chrono::{DateTime, Utc};

use super::outbox::LinkOutbox;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::answer;

/// The sums of the writers and of the sender, the oldest message at the head of a lane, and the gap. A
/// head is looked for above the id that its lane begins at: below it may be the entries of deleted rows,
/// which Postgres cannot remove while an old snapshot is in use.
const BACKLOG: &str = "WITH heads AS ( \
        SELECT head.received_at FROM unnest($2::smallint[], $3::bigint[]) AS known (lane, begin_id), LATERAL ( \
            SELECT received_at FROM link_outbox WHERE link = $1 AND lane = known.lane AND id > known.begin_id \
            ORDER BY id LIMIT 1) head) \
    SELECT coalesce(c.messages, 0)::bigint, coalesce(c.bytes, 0)::bigint, (SELECT min(received_at) FROM heads), \
        g.from_at, coalesce(greatest(g.messages - coalesce(s.refilled, 0), 0), 0)::bigint, coalesce(s.lost, 0)::bigint \
    FROM (SELECT sum(messages) AS messages, sum(bytes) AS bytes FROM link_counts WHERE link = $1) c, \
        (SELECT min(from_at) AS from_at, sum(messages) AS messages FROM link_gaps WHERE link = $1) g \
        LEFT JOIN link_state s ON s.link = $1";

/// What waits for a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages in the outbox.
    pub messages: u64,
    /// Their bytes: payload, topic and 100 for each message.
    pub bytes: u64,
    /// When Sluice received the oldest of them.
    pub oldest: Option<Timestamp>,
    /// From when on messages are in `telemetry` only; `None`: there is no gap.
    pub gap_since: Option<Timestamp>,
    /// Number of these messages.
    pub gap_messages: u64,
    /// Number of messages of earlier gaps that could not be read back.
    pub lost: u64,
}

/// The columns of [`BACKLOG`].
type Sums = (i64, i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>, i64, i64);

// === impl LinkOutbox ===

impl LinkOutbox {
    /// What waits for the link now; the oldest message is that of the lanes up to this number.
    pub async fn backlog(&mut self, lanes: u16) -> Result<Backlog, Outage> {
        let (lanes, begins) = self.begins(lanes);
        let query = sqlx::query_as(BACKLOG).bind(self.link.as_str()).bind(lanes).bind(begins);
        let sums: Sums = answer(query.fetch_one(&mut self.session.connection)).await?;
        let (messages, bytes, oldest, gap_since, gap_messages, lost) = sums;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Backlog {
            messages: count(messages),
            bytes: count(bytes),
            oldest: oldest.map(Timestamp::from),
            gap_since: gap_since.map(Timestamp::from),
            gap_messages: count(gap_messages),
            lost: count(lost),
        })
    }
}
