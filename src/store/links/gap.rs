//! A gap: messages that the outbox had no room for are in `telemetry` only. The sender reads them
//! back in the order of receipt, step by step, when there is room, and then ends the gap.
//!
//! A batch that finds a gap locks its rows in `link_gaps` shared until the commit. A step locks the
//! same rows alone. So each message is on one side: its batch has committed, and the step sees its row
//! in `telemetry`; or its batch waits for the step, and sees what the step has left. A batch waits for
//! at most one step, which is kept short by the number of its rows. After a step that was too slow, the
//! next one is first read without a lock, and locks only if that is quick enough. A batch that begins
//! a gap adds a row of its own, which a step leaves as it is unless it has locked it.
//!
//! A batch that commits late moves the begin of the gap back: some messages are queued twice, and
//! none is lost. Messages that came over a link are not read back, for `telemetry` does not have the
//! nodes that they passed: [`crate::store::batch::forward_rows`] queues them in a gap, too.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::outbox::LinkOutbox;
use super::queued_rows::SENDER;
use super::rebuilt_payload::TelemetryMessage;
use super::refill_pace::RefillPace;
use super::refilled_rows::{self, message_columns};
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// Begins a step.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '80ms'; SET LOCAL statement_timeout = '100ms'";

/// While a step has the locks, batches wait. It reads and it queues, each within this time; what is
/// left to do changes one row.
const UNDER_LOCK: &str = "SET LOCAL statement_timeout = '50ms'";
const UNDER_LOCK_TIME: Duration = Duration::from_millis(50);

/// Begins a probe, which locks nothing. The lanes wait for it.
const BEGIN_PROBE: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '250ms'";

/// The begin of the gap, and the time of Postgres.
const LOOK: &str =
    "SELECT min(from_at), now() FROM link_gaps WHERE link = $1 HAVING min(from_at) IS NOT NULL";

/// Locks the rows of the gap: waits for the batches that have found them. The next statement sees what
/// these batches have committed.
const LOCK: &str = "SELECT writer, from_at, now(), \
        $2 - (SELECT coalesce(sum(bytes), 0) FROM link_counts WHERE link = $1)::bigint \
    FROM link_gaps WHERE link = $1 ORDER BY writer FOR UPDATE";

/// The messages of a span, and all that have the time of the last one.
const READ: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM telemetry WHERE received_at >= $1 AND received_at < $2 AND link IS NULL \
      ORDER BY received_at FETCH FIRST $3 ROWS WITH TIES"
);

/// What is before this time is in the outbox.
const ADVANCE: &str = "WITH counted AS ( \
        INSERT INTO link_state AS s (link, refilled) VALUES ($1, $3) \
        ON CONFLICT (link) DO UPDATE SET refilled = s.refilled + excluded.refilled) \
    UPDATE link_gaps SET from_at = greatest(from_at, $2) WHERE link = $1 AND writer = ANY ($4)";

/// Ends the gap; returns the number of messages that were not in `telemetry`.
const CLOSE: &str = "WITH gone AS (DELETE FROM link_gaps WHERE link = $1 AND writer = ANY ($3) RETURNING messages, lost), \
    sums AS (SELECT sum(messages) AS messages, sum(lost) AS lost FROM gone), \
    missing AS (SELECT (lost + greatest(messages - $2 - coalesce((SELECT refilled FROM link_state WHERE link = $1), 0), 0))::bigint \
        AS lost FROM sums), \
    kept AS (INSERT INTO link_state AS s (link, lost) SELECT $1, lost FROM missing \
        ON CONFLICT (link) DO UPDATE SET refilled = 0, lost = s.lost + excluded.lost) \
    SELECT lost FROM missing";

/// A span that ends after this time from now has no end: nothing is received later.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// The end of a span without an end: a clock may have been ahead.
const WHOLE_FUTURE: TimeDelta = TimeDelta::days(36_500);

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefillStep {
    /// There is no gap.
    NoGap,
    /// There is no room in the outbox.
    NoRoom,
    /// A batch was being written for longer than a step waits, or a statement took too long: the next
    /// step is smaller.
    Busy,
    /// Even the smallest step takes longer than batches may wait. It was read without a lock.
    TooSlow,
    /// So many messages were queued, and there are more.
    Queued(u64),
    /// The last messages were queued, and the gap has ended.
    Closed {
        /// Messages that were queued in this step.
        queued: u64,
        /// Messages of the gap that are no longer in `telemetry`, or never were.
        lost: u64,
    },
}

/// A step, and what it read.
#[derive(Debug)]
struct StepRead {
    step: RefillStep,
    rows: usize,
    /// Whether there are more rows in the span.
    is_cut: bool,
    /// How long batches had to wait for it. The wait for their locks is not its work.
    locked_for: Duration,
}

/// A locked row: its writer, its begin, the time of Postgres, and the bytes that the outbox has room
/// for.
type GapRow = (String, DateTime<Utc>, DateTime<Utc>, i64);

// === impl StepRead ===

impl From<RefillStep> for StepRead {
    fn from(step: RefillStep) -> Self {
        Self { step, rows: usize::MAX, is_cut: false, locked_for: Duration::ZERO }
    }
}

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Reads back one step of the gap. The caller calls it while the backlog is below half of its
    /// bound, and again while it returns [`RefillStep::Queued`]. After an error the caller
    /// drops the connection.
    pub async fn refill(&mut self, routes: &LinkRoutes) -> Result<RefillStep, Outage> {
        if self.pace.is_probing && !self.probe(routes).await? {
            let is_slowest = self.pace.is_slowest();
            return Ok(if is_slowest { RefillStep::TooSlow } else { RefillStep::Busy });
        }
        self.session.run(BEGIN).await?;
        let step = match answer(async { Ok(self.step(routes).await) }).await? {
            Ok(read) => {
                self.pace.learn(read.rows, read.is_cut, read.locked_for);
                read.step
            }
            Err(error) => {
                self.pace.slow_down_after(error)?;
                RefillStep::Busy
            }
        };
        let is_done = matches!(step, RefillStep::Queued(_) | RefillStep::Closed { .. });
        self.session.run(if is_done { "COMMIT" } else { "ROLLBACK" }).await?;
        Ok(step)
    }

    /// Reads what a step would read, without a lock; false: it takes longer than batches may wait.
    async fn probe(&mut self, routes: &LinkRoutes) -> Result<bool, Outage> {
        self.session.run(BEGIN_PROBE).await?;
        let started = Instant::now();
        let probed = answer(async { Ok(self.read_unlocked(routes).await) }).await?;
        let took = started.elapsed();
        self.session.run("ROLLBACK").await?;
        match probed {
            Ok(()) if took <= UNDER_LOCK_TIME => return Ok(true),
            Ok(()) => self.pace.slow_down(),
            Err(error) => self.pace.slow_down_after(error)?,
        }
        Ok(false)
    }

    async fn read_unlocked(&mut self, routes: &LinkRoutes) -> Result<(), sqlx::Error> {
        let connection = &mut self.session.connection;
        let look = sqlx::query_as(LOOK).bind(routes.link.as_str());
        let gap: Option<(DateTime<Utc>, DateTime<Utc>)> =
            look.fetch_optional(&mut *connection).await?;
        if let Some((from, now)) = gap {
            read(connection, &self.pace, from, now).await?;
        }
        Ok(())
    }

    /// The step within its transaction.
    async fn step(&mut self, routes: &LinkRoutes) -> Result<StepRead, sqlx::Error> {
        let connection = &mut self.session.connection;
        let (link, bound) = (routes.link.as_str(), routes.backlog_max_bytes.min(i64::MAX as u64));
        let lock = sqlx::query_as(LOCK).bind(link).bind(bound.cast_signed());
        let gap: Vec<GapRow> = lock.fetch_all(&mut *connection).await?;
        let locked_at = Instant::now();
        let begin = gap.iter().map(|row| row.1).min();
        let (Some(from), Some(&(_, _, now, room))) = (begin, gap.first()) else {
            return Ok(RefillStep::NoGap.into());
        };
        let writers: Vec<&str> = gap.iter().map(|row| row.0.as_str()).collect();
        if room <= 0 {
            return Ok(RefillStep::NoRoom.into());
        }
        sqlx::raw_sql(UNDER_LOCK).execute(&mut *connection).await?;
        let (until, mut rows) = read(&mut *connection, &self.pace, from, now).await?;
        let is_full = cut_to(&mut rows, room);
        let is_cut =
            is_full || i64::try_from(rows.len()).is_ok_and(|count| count >= self.pace.rows);
        let queued = refilled_rows::queue(connection, routes, SENDER, &rows).await?;
        let queued_rows = queued.min(i64::MAX as u64).cast_signed();
        let last = rows.last().filter(|_| is_cut);
        let reached = last.map(|last| last.received_at + TimeDelta::microseconds(1)).or(until);
        let step = if let Some(reached) = reached {
            let advance = sqlx::query(ADVANCE).bind(link).bind(reached).bind(queued_rows);
            advance.bind(&writers).execute(connection).await?;
            RefillStep::Queued(queued)
        } else {
            let close = sqlx::query_scalar(CLOSE).bind(link).bind(queued_rows);
            let missing: i64 = close.bind(&writers).fetch_one(connection).await?;
            RefillStep::Closed { queued, lost: u64::try_from(missing).unwrap_or(0) }
        };
        Ok(StepRead { step, rows: rows.len(), is_cut, locked_for: locked_at.elapsed() })
    }
}

// === private helpers ===

/// The messages of the next step, and the end of its span; `None`: it has no end.
async fn read(
    connection: &mut PgConnection,
    pace: &RefillPace,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(Option<DateTime<Utc>>, Vec<TelemetryMessage>), sqlx::Error> {
    let until = from.checked_add_signed(pace.span).filter(|until| *until < now + AHEAD);
    let read = sqlx::query_as(READ).bind(from).bind(until.unwrap_or(now + WHOLE_FUTURE));
    Ok((until, read.bind(pace.rows).fetch_all(connection).await?))
}

/// Leaves out the messages that the outbox has no room for; returns whether there are any. The first
/// one stays, and messages of one time stay together: the next step begins after the last one's time.
fn cut_to(rows: &mut Vec<TelemetryMessage>, room: i64) -> bool {
    let mut left = room;
    let fits = rows.windows(2).position(|two| {
        left = left.saturating_sub(i64::try_from(two[0].weight()).unwrap_or(i64::MAX));
        left <= 0 && two[0].received_at < two[1].received_at
    });
    if let Some(last) = fits {
        rows.truncate(last + 1);
    }
    fits.is_some()
}
