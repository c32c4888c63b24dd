//! The one place that reads the time.

use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use sluice_shared::time::{MICROS_PER_SECOND, Timestamp};

/// The time now, some milliseconds late: it costs a tenth.
pub fn coarse() -> Timestamp {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let micros = now.tv_sec.saturating_mul(MICROS_PER_SECOND) + now.tv_nsec / 1_000;
    Timestamp::from_micros(micros)
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
