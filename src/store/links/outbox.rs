//! The outbox of one link, as its sender uses it: read the lowest ids, delete what was acknowledged.
//!
//! There is no cursor: ids are given before the commit, so a row may appear below one that was read.
//! A look therefore begins at the lowest row that may still appear, which [`LaneReads`] derives from
//! the transactions that were in progress; beginning at the lowest id of all would take Postgres past
//! the entries of all deleted rows.
//!
//! One replica is the sender, by an advisory lock that ends with the connection. A sender that is
//! frozen sends no statement, so Postgres ends its connection after [`IDLE_LIMIT`]. Deletions are
//! not flushed to disk at once: after a crash of Postgres some messages are sent twice, and none is
//! lost.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sqlx::Row;
use xxhash_rust::xxh3::xxh3_64;

use super::queued_rows::{SENDER, queued};
use super::refill_pace::RefillPace;
use super::stray_watch::StrayWatch;
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

/// Part of the names of locks, so that no other lock has their number.
const LOCK_OF: &str = "sluice link ";

/// The rows above `$3` without those in `$4`; with the oldest transaction in progress, and the next one.
const NEXT: &str = "SELECT *, (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint) AS oldest_transaction, \
        (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) AS next_transaction \
    FROM link_outbox WHERE link = $1 AND lane = $2 AND id > $3 AND id <> ALL ($4) ORDER BY id LIMIT $5";

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
    /// Set while rows may appear in the lanes of earlier settings.
    pub(super) strays: Option<StrayWatch>,
}

/// What was read of a lane, and from where the next look begins.
///
/// A row gets its id in a transaction that has its number already. So when every transaction that was
/// in progress at a look has ended, no row appears any more below the rows of that look.
#[derive(Debug, Default)]
struct LaneReads {
    /// No row appears at or below this id any more.
    floor: i64,
    /// The floor, once all transactions before this one have ended: transaction and id.
    next_floor: Option<(i64, i64)>,
    /// Ids that were returned and are not finished.
    open: BTreeSet<i64>,
}

/// A row, and the transactions at the time of the look.
#[derive(Debug)]
struct SeenRow {
    row: QueuedForward,
    oldest_transaction: i64,
    next_transaction: i64,
}

/// The number of the advisory lock that the sender of a link holds.
pub(super) fn lock_key(link: &LinkName) -> i64 {
    xxh3_64(format!("{LOCK_OF}{link}").as_bytes()).cast_signed()
}

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Connects, not as sender.
    pub async fn open(database: &Database, link: LinkName) -> Result<Self, Outage> {
        let idle = format!("{}ms", IDLE_LIMIT.as_millis());
        let lock = format!("{}ms", LOCK_LIMIT.as_millis());
        let limits = [("idle_session_timeout", idle), ("lock_timeout", lock)];
        let options = database.bounded_options().clone().options(limits);
        // A generic plan compares each row with each of the ids that a lane holds.
        let options = options
            .options([("synchronous_commit", "off"), ("plan_cache_mode", "force_custom_plan")]);
        let session = WriterConnection::open(&options).await?;
        let (lanes, pace) = (HashMap::new(), RefillPace::default());
        Ok(Self { session, link, is_sender: false, lanes, pace, strays: None })
    }

    /// Tries to become the sender; returns whether this is the sender. As sender it shows Postgres
    /// that this process is alive.
    pub async fn claim(&mut self) -> Result<bool, Outage> {
        let query = if self.is_sender {
            sqlx::query_scalar("SELECT true")
        } else {
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock_key(&self.link))
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
        let query = sqlx::query(NEXT)
            .bind(self.link.as_str())
            .bind(lane)
            .bind(reads.begin())
            .bind(in_flight)
            .bind(i64::from(limit))
            .try_map(|row| {
                let oldest_transaction = row.try_get("oldest_transaction")?;
                let next_transaction = row.try_get("next_transaction")?;
                Ok(SeenRow { row: queued(&row)?, oldest_transaction, next_transaction })
            });
        let seen: Vec<SeenRow> = answer(query.fetch_all(&mut self.session.connection)).await?;
        let is_full = seen.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        reads.looked(&seen, in_flight, is_full);
        Ok(seen.into_iter().map(|seen| seen.row).collect())
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

    /// The lanes up to this number, and for each the id above which its rows are.
    pub(super) fn begins(&self, lanes: u16) -> (Vec<i16>, Vec<i64>) {
        let begin = |lane: &i16| self.lanes.get(lane).map_or(0, LaneReads::begin);
        let lanes = 0..i16::try_from(lanes).unwrap_or(i16::MAX);
        (lanes.clone().collect(), lanes.map(|lane| begin(&lane)).collect())
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
    /// The next look finds rows above this id.
    fn begin(&self) -> i64 {
        self.open.first().map_or(self.floor, |lowest| self.floor.min(lowest - 1))
    }

    /// Learns from a look. A full one may have left out rows behind its last.
    fn looked(&mut self, seen: &[SeenRow], in_flight: &[i64], is_full: bool) {
        self.open.extend(in_flight);
        self.open.extend(seen.iter().map(|seen| seen.row.id));
        let Some(last) = seen.last() else { return };
        match self.next_floor {
            Some((transaction, id)) if transaction <= last.oldest_transaction => {
                let complete_to = if is_full { id.min(last.row.id) } else { id };
                self.floor = self.floor.max(complete_to);
                self.next_floor = Some((last.next_transaction, last.row.id));
            }
            Some(_) => {}
            None => self.next_floor = Some((last.next_transaction, last.row.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::domain::link::ForwardMode;
    use crate::domain::time::Timestamp;

    /// Rows that a look returns while transactions from `oldest` up to `next` are in progress.
    fn seen(ids: std::ops::RangeInclusive<i64>, oldest: i64, next: i64) -> Vec<SeenRow> {
        let row = |id| QueuedForward {
            id,
            lane: 0,
            tenant: "t".into(),
            device: "d".into(),
            msg_type: "telemetry".into(),
            topic: String::new(),
            mode: ForwardMode::Raw,
            payload: Bytes::new(),
            time: Timestamp::default(),
            received_at: Timestamp::default(),
            message_id: Uuid::nil(),
            via: Vec::new(),
            queued_at: Timestamp::default(),
        };
        let seen =
            |id| SeenRow { row: row(id), oldest_transaction: oldest, next_transaction: next };
        ids.map(seen).collect()
    }

    fn finish(reads: &mut LaneReads, ids: std::ops::RangeInclusive<i64>) {
        for id in ids {
            reads.open.remove(&id);
        }
    }

    #[test]
    fn after_a_refill_that_committed_late_the_floor_stays_below_its_rows() {
        let mut reads = LaneReads::default();
        // A refill (transaction 10) has the ids 101 to 200 and is in progress; a batch has those above.
        reads.looked(&seen(201..=210, 10, 12), &[], false);
        assert_eq!(reads.begin(), 0, "whatever is open above it");
        finish(&mut reads, 201..=210);
        assert_eq!(reads.begin(), 0, "rows may still appear below");
        reads.looked(&seen(211..=212, 10, 13), &[], false);
        finish(&mut reads, 211..=212);
        assert_eq!(reads.begin(), 0, "the refill is still in progress");
        // It has committed. A look that is full leaves the last rows of the refill out.
        reads.looked(&seen(101..=140, 20, 20), &[], true);
        finish(&mut reads, 101..=140);
        assert_eq!(reads.begin(), 140, "the rows of the refill behind the look are not passed");
        reads.looked(&seen(141..=200, 21, 21), &[], false);
        assert_eq!(reads.begin(), 140, "they are not finished");
        finish(&mut reads, 141..=200);
        assert_eq!(reads.begin(), 140);
        reads.looked(&seen(213..=213, 22, 22), &[], false);
        finish(&mut reads, 213..=213);
        assert_eq!(reads.begin(), 200);
    }

    #[test]
    fn the_floor_stays_below_a_row_that_waits() {
        let mut reads = LaneReads::default();
        reads.looked(&seen(1..=5, 3, 3), &[], false);
        reads.looked(&seen(6..=9, 4, 4), &[2], false);
        finish(&mut reads, 3..=9);
        finish(&mut reads, 1..=1);
        assert_eq!((reads.floor, reads.begin()), (5, 1));
        finish(&mut reads, 2..=2);
        assert_eq!(reads.begin(), 5);
    }

    #[test]
    fn the_floor_rises_although_there_is_always_a_transaction_in_progress() {
        // The transactions of a look have ended at the next one, or at the one after it.
        for (age, floors) in [(0, [0, 1, 2, 3, 4]), (1, [0, 0, 1, 1, 3])] {
            let mut reads = LaneReads::default();
            for (look, floor) in (1..).zip(floors) {
                reads.looked(&seen(look..=look, look - age, look + 1), &[], false);
                finish(&mut reads, look..=look);
                assert_eq!(reads.begin(), floor, "look {look}, {age} behind");
            }
        }
    }

    #[test]
    fn a_look_that_is_not_full_has_seen_all_rows_below_the_floor() {
        let mut reads = LaneReads::default();
        reads.looked(&seen(50..=50, 3, 5), &[], false);
        // Rows that were committed late, and none behind them.
        reads.looked(&seen(10..=12, 5, 6), &[50], false);
        assert_eq!((reads.floor, reads.begin()), (50, 9));
        finish(&mut reads, 50..=50);
        finish(&mut reads, 10..=12);
        assert_eq!(reads.begin(), 50);
        // A row that was read below it is not a reason to go back.
        reads.open.insert(20);
        reads.looked(&seen(20..=20, 7, 8), &[], false);
        reads.looked(&seen(20..=20, 9, 10), &[], false);
        finish(&mut reads, 20..=20);
        assert_eq!(reads.begin(), 50);
    }

    #[test]
    fn a_full_look_proves_nothing_above_the_rows_of_the_look_before() {
        let mut reads = LaneReads::default();
        reads.looked(&seen(50..=50, 3, 5), &[], false);
        finish(&mut reads, 50..=50);
        // A transaction of the meantime may still put a row between 50 and 60.
        reads.looked(&seen(60..=70, 5, 9), &[], true);
        finish(&mut reads, 60..=70);
        assert_eq!(reads.begin(), 50);
    }

    #[test]
    fn a_message_that_the_lane_holds_is_not_passed_although_no_look_has_returned_it() {
        // After a change of lanes nothing is known of the earlier looks.
        let mut reads = LaneReads::default();
        for look in 0..4 {
            let id = 10 + look;
            reads.looked(&seen(id..=id, 5 + look, 6 + look), &[3], false);
            finish(&mut reads, id..=id);
        }
        assert!(reads.floor >= 10, "{}", reads.floor);
        assert_eq!(reads.begin(), 2);
    }
}
