//! Compares the clock of this machine with the `Date` of an HTTP response.
//!
//! A wrong clock is the least visible cause of a refused signature. It sets no clock.

use std::fmt;

use chrono::{DateTime, SecondsFormat};

use crate::domain::time::Timestamp;

/// A difference up to this is a slow answer, not a wrong clock.
const TOLERANCE_SECONDS: f64 = 60.0;

/// Beyond this AWS refuses a signature.
pub const SIGNATURE_SECONDS: i64 = 300;

/// The clock of this machine differs from that of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// The time of this machine.
    pub ours: Timestamp,
    /// The time of the server.
    pub theirs: Timestamp,
}

// === impl ClockDifference ===

impl ClockDifference {
    /// Compares `date`, the value of a `Date` header, with `now`; `None`: it is not a date, or the
    /// clocks agree within a minute.
    pub fn find(date: &str, now: Timestamp) -> Option<Self> {
        let theirs = DateTime::parse_from_rfc2822(date.trim()).ok()?.to_utc().into();
        let found = Self { ours: now, theirs };
        (found.seconds().abs() > TOLERANCE_SECONDS).then_some(found)
    }

    /// How many seconds this machine is ahead; negative: behind.
    pub const fn seconds(self) -> f64 {
        self.ours.seconds_since(self.theirs)
    }

    /// Whether AWS refuses signatures because of it.
    #[expect(clippy::cast_precision_loss, reason = "300 is exact")]
    pub const fn spoils_signatures(self) -> bool {
        self.seconds().abs() > SIGNATURE_SECONDS as f64
    }
}

impl fmt::Display for ClockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        let side = if seconds < 0.0 { "behind" } else { "ahead of" };
        let text = |time: Timestamp| time.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true);
        let (ours, theirs) = (text(self.ours), text(self.theirs));
        let seconds = seconds.abs();
        write!(
            f,
            "the clock of this machine ({ours}) is {seconds:.0} s {side} the server's ({theirs})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28T12:00:00Z.
    const NOON: Timestamp = Timestamp::from_micros(1_795_867_200_000_000);

    #[test]
    fn a_difference_of_more_than_a_minute_is_named_with_both_times() {
        let found = |date| ClockDifference::find(date, NOON).map(|found| found.to_string());
        assert_eq!(found("Sat, 28 Nov 2026 12:00:59 GMT"), None);
        assert_eq!(found("Sat, 28 Nov 2026 11:59:01 GMT"), None);
        assert_eq!(found("yesterday"), None);
        let behind = "the clock of this machine (2026-11-28T12:00:00Z) is 600 s behind the server's \
            (2026-11-28T12:10:00Z)";
        assert_eq!(found("Sat, 28 Nov 2026 12:10:00 GMT").unwrap(), behind);
        let ahead = found("Sat, 28 Nov 2026 11:58:00 GMT").unwrap();
        assert!(ahead.contains("is 120 s ahead of the server's"), "{ahead}");
    }

    #[test]
    fn aws_accepts_five_minutes() {
        let spoils = |date| ClockDifference::find(date, NOON).unwrap().spoils_signatures();
        assert!(!spoils("Sat, 28 Nov 2026 12:05:00 GMT"));
        assert!(spoils("Sat, 28 Nov 2026 12:05:01 GMT"));
        assert!(spoils("Sat, 28 Nov 2026 11:54:59 GMT"));
    }
}
