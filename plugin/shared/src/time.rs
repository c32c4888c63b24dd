//! A point in time in microseconds, the precision of Postgres, in eight bytes.
//!
//! It never reads a clock; `now` is always a parameter.

use std::time::Instant;

use chrono::{DateTime, Utc};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Microseconds of one second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;

/// Source of the time; a parameter, so that tests can set it.
pub type Clock = fn() -> Timestamp;

/// Source of monotonic time, which no operator sets back: for the ends of cache entries. A
/// parameter, so that tests can move it.
pub type MonotonicClock = fn() -> Instant;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time moved by whole seconds, saturating.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }

    /// Start of its minute.
    #[must_use]
    pub const fn minute(self) -> Self {
        Self(self.0 - self.0.rem_euclid(60 * MICROS_PER_SECOND))
    }

    /// Seconds from `earlier` to this time; negative if it is before `earlier`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "spans of interest are far below 2^52 microseconds"
    )]
    pub const fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }

    /// Whether Postgres and texts can represent it: year 1 to year 9999.
    pub const fn is_storable(self) -> bool {
        -62_135_596_800_000_000 <= self.0 && self.0 < 253_402_300_800_000_000
    }

    /// For display and SQL; times outside chrono's range become the epoch.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    }
}
