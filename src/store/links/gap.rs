//! A gap: messages that the outbox had no room for are in `telemetry` only. The sender reads them
//! back in the order of receipt, step by step, when there is room, and then ends the gap.
//!
//! A batch that forwards holds an advisory lock shared until its commit, and learns under it whether
//! there is a gap (`sluice_link_room`). A step holds the same lock alone. So each message is on one
//! side: its batch has committed, and the step sees its row in `telemetry`; or its batch comes after
//! the step, and sees what the step has left. A batch waits for at most one step, which is kept short
//! by the number of its rows.
//!
//! A batch that commits late moves the begin of the gap back: some messages are queued twice, and
//! none is lost. Messages that came over a link are not read back, for `telemetry` does not have the
//! nodes that they passed: [`crate::store::batch::forward_rows`] queues them in a gap, too.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Executor;

use super::outbox::LinkOutbox;
use super::queued_rows::SENDER;
use super::rebuilt_payload::TelemetryMessage;
use super::refilled_rows::{self, message_columns};
use crate::domain::forwarding::LinkRoutes;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;
use crate::store::error::StoreError;

/// Begins a step: waits for the batches that are being written. The number is that of
/// `sluice_link_room`.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(8317151707346042893)";

/// The begin of the gap, and whether the outbox has room.
const LOOK: &str = "SELECT min(g.from_at), now(), \
        (SELECT coalesce(sum(bytes), 0) FROM link_counts WHERE link = $1) < $2 \
    FROM link_gaps g WHERE g.link = $1 HAVING count(*) > 0";

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
    UPDATE link_gaps SET from_at = greatest(from_at, $2) WHERE link = $1";

/// Ends the gap; returns the number of messages that were not in `telemetry`.
const CLOSE: &str = "WITH gone AS (DELETE FROM link_gaps WHERE link = $1 RETURNING messages, lost), \
    sums AS (SELECT sum(messages) AS messages, sum(lost) AS lost FROM gone), \
    missing AS (SELECT (lost + greatest(messages - $2 - coalesce((SELECT refilled FROM link_state WHERE link = $1), 0), 0))::bigint \
        AS lost FROM sums), \
    kept AS (INSERT INTO link_state AS s (link, lost) SELECT $1, lost FROM missing \
        ON CONFLICT (link) DO UPDATE SET refilled = 0, lost = s.lost + excluded.lost) \
    SELECT lost FROM missing";

/// The first and the largest number of rows of a step.
const FIRST_ROWS: i64 = 200;
const MOST_ROWS: i64 = 2_000;

/// A step that takes longer has fewer rows the next time, and one that takes half of it more:
/// batches wait for it.
const STEP_TIME: Duration = Duration::from_millis(15);

/// The first span that a step reads; it adapts to the density of messages.
const FIRST_SPAN: TimeDelta = TimeDelta::seconds(10);
const SHORTEST_SPAN: TimeDelta = TimeDelta::milliseconds(10);

/// A span that ends after this time from now has no end: nothing is received later.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// The end of a span without an end: a clock may have been ahead.
const WHOLE_FUTURE: TimeDelta = TimeDelta::days(36_500);

/// The state of `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefillStep {
    /// There is no gap.
    NoGap,
    /// There is no room in the outbox.
    NoRoom,
    /// A batch was being written for longer than a step waits.
    Busy,
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

/// How much a step reads.
#[derive(Debug)]
pub(super) struct RefillPace {
    rows: i64,
    span: TimeDelta,
}

/// The begin of a gap, the time of Postgres, and whether there is room.
type GapLook = (DateTime<Utc>, DateTime<Utc>, bool);

// === impl RefillPace ===

impl Default for RefillPace {
    fn default() -> Self {
        Self { rows: FIRST_ROWS, span: FIRST_SPAN }
    }
}

impl RefillPace {
    fn learn(&mut self, read: usize, is_cut: bool, took: Duration) {
        if took > STEP_TIME {
            self.rows = (self.rows / 2).max(FIRST_ROWS / 4);
        } else if took < STEP_TIME / 2 && is_cut {
            self.rows = (self.rows * 2).min(MOST_ROWS);
        }
        if is_cut {
            self.span = (self.span / 2).max(SHORTEST_SPAN);
        } else if read < usize::try_from(self.rows / 2).unwrap_or(0) {
            self.span = self.span.checked_mul(2).unwrap_or(self.span).min(TimeDelta::days(1));
        }
    }
}

// === impl LinkOutbox ===

impl LinkOutbox {
    /// Reads back one step of the gap. The caller calls it while the backlog is below half of its
    /// bound, and again until it returns [`RefillStep::Queued`] no more.
    pub async fn refill(&mut self, routes: &LinkRoutes) -> Result<RefillStep, Outage> {
        match answer(async { Ok(self.session.connection.execute(BEGIN).await) }).await? {
            Ok(_) => {}
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
            {
                self.session.run("ROLLBACK").await?;
                return Ok(RefillStep::Busy);
            }
            Err(error) => return Err(StoreError::from(error).into()),
        }
        let started = Instant::now();
        let step = self.step(routes, started).await?;
        let end = match step {
            RefillStep::Queued(_) | RefillStep::Closed { .. } => "COMMIT",
            _ => "ROLLBACK",
        };
        self.session.run(end).await?;
        Ok(step)
    }

    /// The step within its transaction. After an error the caller drops the connection.
    async fn step(&mut self, routes: &LinkRoutes, started: Instant) -> Result<RefillStep, Outage> {
        let room = i64::try_from(routes.backlog_max_bytes).unwrap_or(i64::MAX);
        let query = sqlx::query_as(LOOK).bind(routes.link.as_str()).bind(room);
        let look: Option<GapLook> =
            answer(query.fetch_optional(&mut self.session.connection)).await?;
        let Some((from, now, has_room)) = look else { return Ok(RefillStep::NoGap) };
        if !has_room {
            return Ok(RefillStep::NoRoom);
        }
        let until = from.checked_add_signed(self.pace.span).filter(|until| *until < now + AHEAD);
        let query = sqlx::query_as(READ)
            .bind(from)
            .bind(until.unwrap_or(now + WHOLE_FUTURE))
            .bind(self.pace.rows);
        let rows: Vec<TelemetryMessage> =
            answer(query.fetch_all(&mut self.session.connection)).await?;
        let queued =
            refilled_rows::queue(&mut self.session.connection, routes, SENDER, &rows).await?;
        let is_cut = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= self.pace.rows;
        let reached = match rows.last().filter(|_| is_cut) {
            Some(last) => Some(last.received_at + TimeDelta::microseconds(1)),
            None => until,
        };
        let step = match reached {
            Some(reached) => {
                let query = sqlx::query(ADVANCE).bind(routes.link.as_str()).bind(reached);
                let query = query.bind(i64::try_from(queued).unwrap_or(i64::MAX));
                answer(query.execute(&mut self.session.connection)).await?;
                RefillStep::Queued(queued)
            }
            None => {
                let query = sqlx::query_scalar(CLOSE).bind(routes.link.as_str());
                let query = query.bind(i64::try_from(queued).unwrap_or(i64::MAX));
                let lost: i64 = answer(query.fetch_one(&mut self.session.connection)).await?;
                RefillStep::Closed { queued, lost: u64::try_from(lost).unwrap_or(0) }
            }
        };
        self.pace.learn(rows.len(), is_cut, started.elapsed());
        Ok(step)
    }
}
