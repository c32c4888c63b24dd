//! How much one step of a refill reads: batches wait for a step, so it is short whatever the density of
//! the messages.
//!
//! It reads nothing itself.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::error::DatabaseError;

use crate::store::error::StoreError;

/// The first, the smallest and the largest number of rows of a step.
const FIRST_ROWS: i64 = 200;
const FEWEST_ROWS: i64 = 50;
const MOST_ROWS: i64 = 2_000;

/// A step that takes longer has fewer rows the next time, and one that takes half of it more:
/// batches wait for it.
const STEP_TIME: Duration = Duration::from_millis(15);

/// The first span that a step reads; it adapts to the density of messages.
const FIRST_SPAN: TimeDelta = TimeDelta::seconds(10);
const SHORTEST_SPAN: TimeDelta = TimeDelta::milliseconds(10);
const LONGEST_SPAN: TimeDelta = TimeDelta::days(1);

/// The states of `lock_timeout` and of `statement_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const TOOK_TOO_LONG: &str = "57014";

/// How much a step reads.
#[derive(Debug)]
pub(super) struct RefillPace {
    /// The most rows.
    pub rows: i64,
    /// The time that a step covers.
    pub span: TimeDelta,
    /// Whether the last step was too slow: the next one is tried without a lock first.
    pub is_probing: bool,
}

// === impl RefillPace ===

impl Default for RefillPace {
    fn default() -> Self {
        Self { rows: FIRST_ROWS, span: FIRST_SPAN, is_probing: false }
    }
}

impl RefillPace {
    /// Whether no step can be smaller.
    pub fn is_slowest(&self) -> bool {
        self.span <= SHORTEST_SPAN
    }

    /// A statement was ended because it waited or took too long; other errors are returned.
    pub fn slow_down_after(&mut self, error: sqlx::Error) -> Result<(), StoreError> {
        let state = error.as_database_error().and_then(DatabaseError::code);
        match state.as_deref() {
            Some(LOCK_NOT_AVAILABLE) => return Ok(()),
            Some(TOOK_TOO_LONG) => {}
            _ => return Err(error.into()),
        }
        self.slow_down();
        Ok(())
    }

    /// A step takes too long.
    pub fn slow_down(&mut self) {
        self.rows = (self.rows / 4).max(FEWEST_ROWS);
        self.span = (self.span / 16).max(SHORTEST_SPAN);
        self.is_probing = true;
    }

    /// Learns from a step that read so many rows; `is_cut` means that its span has more.
    pub fn learn(&mut self, read: usize, is_cut: bool, took: Duration) {
        self.is_probing &= took > STEP_TIME;
        if took > STEP_TIME {
            self.rows = (self.rows / 2).max(FEWEST_ROWS);
        } else if took < STEP_TIME / 2 && is_cut {
            self.rows = (self.rows * 2).min(MOST_ROWS);
        }
        if is_cut {
            self.span = (self.span / 2).max(SHORTEST_SPAN);
        } else if read < usize::try_from(self.rows / 2).unwrap_or(0) {
            self.span = (self.span * 2).min(LONGEST_SPAN);
        }
    }
}
