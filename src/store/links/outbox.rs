//! The outbox of one link, as its sender uses it: read the lowest ids, delete what was acknowledged.
//!
//! There is no cursor: ids are given before the commit, so a row may appear below one that was read.
//! A look with `in_flight` finds it. Between two such looks the rows above the last one are enough,
//! which spares Postgres the entries of deleted rows.
//!
//! One replica is the sender, by an advisory lock that ends with the connection. A sender that is
//! frozen sends no statement, so Postgres ends its connection after [`IDLE_LIMIT`]. Deletions are
//! not flushed to disk at once: after a crash of Postgres some messages are sent twice, and none is
//! lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::gap::RefillPace;
use super::queued_rows::{SENDER, queued};
use crate::domain::link::LinkName;
use crate::domain::outbox::QueuedForward;
use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::writer_connection::{WriterConnection, answer};

/// Postgres ends the connection of a sender that sends nothing for this time.
pub const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// A statement that waits longer for a lock fails. Only a refill waits, for the batches that are
/// being written.
const LOCK_LIMIT: Duration = Duration::from_millis(200);

/// Between two looks from the lowest id on: the number of looks at newer rows only.
const NEWER_LOOKS: u32 = 20;

/// Part of the names of locks, so that no other lock has their number.
const LOCK_OF: &str = "sluice link ";

/// From the lowest id on, without those in `$3`.
const LOWEST: &str = "SELECT * FROM link_outbox WHERE link = $1 AND lane = $2 AND id <> ALL ($3) \
    ORDER BY id LIMIT $4";

/// Only those above `$3`.
const NEWER: &str = "SELECT * FROM link_outbox WHERE link = $1 AND lane = $2 AND id > $3 \
    ORDER BY id LIMIT $4";

/// Deletes rows and subtracts them.
const FINISH: &str = "WITH gone AS ( \
        DELETE FROM link_outbox WHERE link = $1 AND lane = $2 AND id = ANY ($3) \
        RETURNING octet_length(payload) + octet_length(topic) + 100 AS bytes) \
    INSERT INTO link_counts AS c (link, writer, messages, bytes) \
    SELECT $1, $4, -count(*), -sum(bytes) FROM gone HAVING count(*) > 0 \
    ON CONFLICT (link, writer) DO UPDATE SET \
        messages = c.messages + excluded.messages, bytes = c.bytes + excluded.bytes";

/// The connection of the sender of one link, or of a replica that waits to become it.
#[derive(Debug)]
pub struct LinkOutbox {
    pub(super) session: WriterConnection,
    pub(super) link: LinkName,
    is_sender: bool,
    lanes: HashMap<i16, LaneReads>,
    pub(super) pace: RefillPace,
}

/// What was read of a lane.
#[derive(Debug, Default)]
struct LaneReads {
    /// The highest id that was returned.
    highest: i64,
    /// Ids that were returned and are not finished.
    open: HashSet<i64>,
    /// Looks at newer rows since the last one from the lowest id on.
    newer_looks: u32,
}

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Connects, not as sender.
    pub async fn open(database: &Database, link: LinkName) -> Result<Self, Outage> {
        let idle = format!("{}ms", IDLE_LIMIT.as_millis());
        let lock = format!("{}ms", LOCK_LIMIT.as_millis());
        let limits = [("idle_session_timeout", idle), ("lock_timeout", lock)];
        let options = database.bounded_options().clone().options(limits);
        let options = options.options([("synchronous_commit", "off")]);
        let session = WriterConnection::open(&options).await?;
        let (lanes, pace) = (HashMap::new(), RefillPace::default());
        Ok(Self { session, link, is_sender: false, lanes, pace })
    }

    /// Tries to become the sender; returns whether this is the sender. As sender it shows Postgres
    /// that this process is alive.
    pub async fn claim(&mut self) -> Result<bool, Outage> {
        let key = xxh3_64(format!("{LOCK_OF}{}", self.link).as_bytes()).cast_signed();
        let query = if self.is_sender {
            sqlx::query_scalar("SELECT true")
        } else {
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key)
        };
        self.is_sender = answer(query.fetch_one(&mut self.session.connection)).await?;
        Ok(self.is_sender)
    }

    /// The lowest rows of a lane that are not in `in_flight`, at most `limit`, in order.
    pub async fn next(
        &mut self,
        lane: i16,
        in_flight: &[i64],
        limit: u32,
    ) -> Result<Vec<QueuedForward>, Outage> {
        let reads = self.lanes.entry(lane).or_default();
        let newer = reads.may_look_above(in_flight);
        let query = if newer {
            sqlx::query(NEWER).bind(self.link.as_str()).bind(lane).bind(reads.highest)
        } else {
            sqlx::query(LOWEST).bind(self.link.as_str()).bind(lane).bind(in_flight)
        };
        let query = query.bind(i64::from(limit)).try_map(|row| queued(&row));
        let rows: Vec<QueuedForward> =
            answer(query.fetch_all(&mut self.session.connection)).await?;
        reads.returned(&rows, in_flight, newer);
        Ok(rows)
    }

    /// Deletes acknowledged messages.
    pub async fn finish(&mut self, lane: i16, ids: &[i64]) -> Result<(), Outage> {
        if ids.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(FINISH).bind(self.link.as_str()).bind(lane).bind(ids).bind(SENDER);
        answer(query.execute(&mut self.session.connection)).await?;
        self.closed(lane, ids);
        Ok(())
    }

    /// Rows were moved between the lanes.
    pub(super) fn forget_reads(&mut self) {
        self.lanes.clear();
    }

    /// These rows are not in the outbox any more.
    pub(super) fn closed(&mut self, lane: i16, ids: &[i64]) {
        if let Some(reads) = self.lanes.get_mut(&lane) {
            for id in ids {
                reads.open.remove(id);
            }
        }
    }
}

// === impl LaneReads ===

impl LaneReads {
    /// Whether a look above the highest id is enough: the caller has every row that it was given.
    fn may_look_above(&self, in_flight: &[i64]) -> bool {
        self.highest > 0
            && self.newer_looks < NEWER_LOOKS
            && in_flight.iter().filter(|id| self.open.contains(id)).count() == self.open.len()
    }

    fn returned(&mut self, rows: &[QueuedForward], in_flight: &[i64], newer: bool) {
        let last = rows.last().map(|row| row.id);
        if newer {
            self.newer_looks += 1;
            self.highest = last.unwrap_or(self.highest);
        } else {
            let in_flight_last = in_flight.iter().copied().max();
            // Below a row in flight there may be more rows than were returned.
            self.newer_looks = if last < in_flight_last { NEWER_LOOKS } else { 0 };
            self.open = in_flight.iter().copied().collect();
            self.highest = last.max(in_flight_last).unwrap_or(0);
        }
        self.open.extend(rows.iter().map(|row| row.id));
    }
}
