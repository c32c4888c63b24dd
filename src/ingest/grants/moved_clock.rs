//! A monotonic clock for tests: it stands still until it is advanced. Each test has its own, because
//! each runs on its own thread.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

/// The time of this thread's clock.
pub fn now() -> Instant {
    NOW.get()
}

/// Moves this thread's clock ahead.
pub fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
}
