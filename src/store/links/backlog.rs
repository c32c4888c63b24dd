//! What waits for a link.
//!
//! It changes nothing.

use chrono::{DateTime, Utc};

use super::outbox::LinkOutbox;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::answer;

/// The sums of the writers and of the sender, the oldest message at the head of a lane, and the gap.
const BACKLOG: &str = "WITH RECURSIVE heads AS ( \
        (SELECT lane, received_at FROM link_outbox WHERE link = $1 ORDER BY lane, id LIMIT 1) \
        UNION ALL SELECT next.lane, next.received_at FROM heads, LATERAL ( \
            SELECT lane, received_at FROM link_outbox WHERE link = $1 AND lane > heads.lane \
            ORDER BY lane, id LIMIT 1) next) \
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
    /// What waits for the link now.
    pub async fn backlog(&mut self) -> Result<Backlog, Outage> {
        let query = sqlx::query_as(BACKLOG).bind(self.link.as_str());
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
