//! Dead letters: messages that leave the outbox because the link does not accept them, or because
//! they are too old.
//!
//! It deletes no message: each becomes a row of `link_refused`.

use chrono::{DateTime, Utc};

use super::outbox::LinkOutbox;
use super::queued_rows::SENDER;
use crate::domain::outbox::{DeadLetterCause, DeadLetterReason};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::writer_connection::answer;

/// Most messages that expire in one statement.
const EXPIRED_MAX: i64 = 500;

/// Moves rows of `gone` into `link_refused`, and subtracts them. `$2`: the row of `link_counts`.
macro_rules! refuse {
    ($gone:literal) => {
        concat!(
            "WITH gone AS (",
            $gone,
            " RETURNING *), \
            counted AS ( \
                INSERT INTO link_counts AS c (link, writer, messages, bytes) \
                SELECT $1, $2, -count(*), -sum(octet_length(payload) + octet_length(topic) + 100) FROM gone HAVING count(*) > 0 \
                ON CONFLICT (link, writer) DO UPDATE SET \
                    messages = c.messages + excluded.messages, bytes = c.bytes + excluded.bytes) \
            INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, \
                received_at, message_id, via, queued_at, reason, code, detail) \
            SELECT link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, \
                received_at, message_id, via, queued_at, $3, $4, $5 FROM gone RETURNING lane, id"
        )
    };
}

const REFUSE: &str = refuse!("DELETE FROM link_outbox WHERE link = $1 AND lane = $6 AND id = $7");

/// The oldest rows are the lowest of each lane, above the id that the lane begins at.
const EXPIRE: &str = refuse!(
    "DELETE FROM link_outbox WHERE link = $1 AND (lane, id) IN ( \
        SELECT o.lane, o.id FROM unnest($8::smallint[], $9::bigint[]) AS known (lane, begin_id), LATERAL ( \
            SELECT lane, id, queued_at FROM link_outbox WHERE link = $1 AND lane = known.lane AND id > known.begin_id \
            ORDER BY id LIMIT $7) o \
        WHERE o.queued_at < $6)"
);

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Moves one message to the dead letters; false: it is not in the outbox any more.
    pub async fn dead_letter(
        &mut self,
        lane: i16,
        id: i64,
        reason: &DeadLetterReason,
    ) -> Result<bool, Outage> {
        let query = sqlx::query_as(REFUSE)
            .bind(self.link.as_str())
            .bind(SENDER)
            .bind(reason.reason.label())
            .bind(reason.code.map(i16::from))
            .bind(reason.detail.replace('\0', "\u{fffd}"))
            .bind(lane)
            .bind(id);
        let moved: Vec<(i16, i64)> = answer(query.fetch_all(&mut self.session.connection)).await?;
        self.closed(lane, &[id]);
        Ok(!moved.is_empty())
    }

    /// Moves messages that were queued before this time to the dead letters, a bounded number;
    /// returns the lane and the id of each. The caller calls again until there is none.
    pub async fn expire(
        &mut self,
        older_than: Timestamp,
        lanes: u16,
    ) -> Result<Vec<(i16, i64)>, Outage> {
        let older_than: DateTime<Utc> = older_than.to_utc();
        let (lanes, begins) = self.begins(lanes);
        let query = sqlx::query_as(EXPIRE)
            .bind(self.link.as_str())
            .bind(SENDER)
            .bind(DeadLetterCause::Expired.label())
            .bind(None::<i16>)
            .bind("the message waited longer than backlog_max_age")
            .bind(older_than)
            .bind(EXPIRED_MAX)
            .bind(lanes)
            .bind(begins);
        let moved: Vec<(i16, i64)> = answer(query.fetch_all(&mut self.session.connection)).await?;
        for &(lane, id) in &moved {
            self.closed(lane, &[id]);
        }
        Ok(moved)
    }
}
