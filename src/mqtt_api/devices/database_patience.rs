//! Ends a wait for Postgres after a second and a half. After two such waits in a row, requests do not
//! wait at all for a while.
//!
//! Without the pause, a Postgres that does not answer would keep all places of the dispatcher, and
//! requests that need no database would wait behind them. One wait may be a lock on one row.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::reply::{Rejection, ReplyResult};
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::http::api::problem::Problem;

/// Longest time of one route, with its wait for a connection, and of one statement.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// How many waits in a row, without an answer in between, begin a pause.
const WAITS_IN_A_ROW: u32 = 2;

/// The pause, in seconds.
const PAUSE_SECONDS: i64 = 2;

/// Seconds after which a device may send its request again.
const RETRY_SECONDS: u64 = 2;

/// The wait of all routes.
#[derive(Debug)]
pub(super) struct DatabasePatience {
    /// Until when no route waits, in microseconds.
    paused_until: AtomicI64,
    /// Routes in a row that did not end in time.
    waits: AtomicU32,
    clock: Clock,
}

// === impl DatabasePatience ===

impl DatabasePatience {
    pub(super) const fn new(clock: Clock) -> Self {
        Self { paused_until: AtomicI64::new(i64::MIN), waits: AtomicU32::new(0), clock }
    }

    /// Runs a route.
    pub(super) async fn run(&self, route: impl Future<Output = ReplyResult>) -> ReplyResult {
        if (self.clock)() < Timestamp::from_micros(self.paused_until.load(Ordering::Relaxed)) {
            return Err(late("Postgres did not answer a request a moment ago"));
        }
        match timeout(PATIENCE, route).await {
            Ok(Err(rejection)) if rejection.is_outage() => {
                Err(rejection.or_retry_after(RETRY_SECONDS))
            }
            Ok(result) => {
                self.waits.store(0, Ordering::Relaxed);
                result
            }
            Err(_) => {
                if self.waits.fetch_add(1, Ordering::Relaxed) + 1 >= WAITS_IN_A_ROW {
                    let until = (self.clock)().plus_seconds(PAUSE_SECONDS);
                    self.paused_until.store(until.micros(), Ordering::Relaxed);
                }
                Err(late("Postgres does not answer"))
            }
        }
    }
}

fn late(why: &str) -> Rejection {
    let outage = Outage(format!("{why}: try again in {RETRY_SECONDS} s"));
    Rejection::from(Problem::from(outage)).retry_after(RETRY_SECONDS)
}
