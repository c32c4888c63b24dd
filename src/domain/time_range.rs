//! The bounds of a time range as a person writes them: a time in RFC 3339, or a span before now.
//!
//! It reads no clock: [`TimeBound::at`] takes the current time.

use std::str::FromStr;

use chrono::DateTime;

use super::time::Timestamp;

/// The earliest time a bound stands for: the beginning of year 1.
const EARLIEST: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// One bound of a range, the value of `since` or `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeBound {
    /// This time.
    At(Timestamp),
    /// This many seconds before now.
    Ago(i64),
}

/// The text is no [`TimeBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time in RFC 3339 such as 2026-11-21T06:00:00Z, or a span such as 90s, 30m, 2h, 7d"
)]
pub struct InvalidTimeBound;

impl TimeBound {
    /// The time this bound stands for at `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(seconds) => now.plus_seconds(-seconds).max(EARLIEST),
        }
    }
}

impl FromStr for TimeBound {
    type Err = InvalidTimeBound;

    fn from_str(text: &str) -> Result<Self, InvalidTimeBound> {
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => {
                let time = Timestamp::from(time.to_utc());
                time.is_storable().then_some(Self::At(time)).ok_or(InvalidTimeBound)
            }
            Err(_) => span(text).map(Self::Ago).ok_or(InvalidTimeBound),
        }
    }
}

/// The seconds of a span such as `90s`, `30m`, `2h`, `7d`.
pub(super) fn span(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    // `parse` would accept a plus sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u32 = digits.parse().ok().filter(|_| is_number)?;
    // A `u32` of days in seconds fits an `i64`.
    Some(i64::from(count) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    #[test]
    fn a_bound_is_a_time_or_a_span_before_now() {
        let read = |text: &str| text.parse::<TimeBound>().map(|bound| bound.at(NOW));
        let written = read("2026-11-21T07:00:00+01:00").unwrap();
        assert_eq!(written.to_string(), "2026-11-21T06:00:00.000000Z");
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(read(text), Ok(NOW.plus_seconds(-seconds)), "{text}");
        }
        assert_eq!(read("0s"), Ok(NOW));
        assert_eq!(read("4294967295d"), Ok(EARLIEST));
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = ["", "h", "2", "2x", "-2h", "+2h", "yesterday", "2\u{e9}", "4294967296d"];
        for text in wrong.into_iter().chain(["2026-11-21", "0000-01-01T00:00:00Z"]) {
            assert_eq!(text.parse::<TimeBound>(), Err(InvalidTimeBound), "{text}");
        }
    }
}
