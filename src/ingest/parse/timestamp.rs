//! Reads `ts`: RFC 3339 text, or Unix time as a number (seconds, or milliseconds from 1e11 on).
//!
//! It reads exactly and guesses nothing; [`AcceptedTimes`] checks the range separately.

use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// From this number on, Unix time is milliseconds: as seconds it would lie in the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How far from the time of receipt a device's time may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedTimes {
    /// `MAX_CLOCK_SKEW_SECONDS`.
    pub ahead_seconds: i64,
    /// `MAX_AGE_DAYS`.
    pub age_days: i64,
}

/// Reads the JSON value of `ts`. `None` means unreadable; too large a number saturates.
pub fn read(raw: &str) -> Option<Timestamp> {
    match raw.as_bytes().first()? {
        b'"' => {
            let text: std::borrow::Cow<'_, str> = match raw.get(1..raw.len() - 1) {
                Some(inside) if !inside.contains('\\') => inside.into(),
                _ => serde_json::from_str::<String>(raw).ok()?.into(),
            };
            let time = chrono::DateTime::parse_from_rfc3339(&text).ok()?;
            Some(Timestamp::from_micros(time.timestamp_micros()))
        }
        b'-' | b'0'..=b'9' => Some(read_number(raw)),
        _ => None,
    }
}

/// Unix time to the microsecond. Digits without an exponent are read exactly; the rest goes through
/// a double.
fn read_number(raw: &str) -> Timestamp {
    let approximate: f64 = raw.parse().unwrap_or(f64::INFINITY);
    let decimals = if approximate.abs() >= MILLISECONDS_FROM { 3 } else { 6 };
    Timestamp::from_micros(
        exact_micros(raw, decimals).unwrap_or_else(|| saturating_micros(approximate, decimals)),
    )
}

/// `digits[.digits]` shifted by `decimals` decimal places, truncated; `None` where it does not fit
/// or has an exponent.
fn exact_micros(raw: &str, decimals: usize) -> Option<i64> {
    let (sign, digits) = raw.strip_prefix('-').map_or((1, raw), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut micros: i64 = whole.parse().ok()?;
    let mut fraction = fraction.bytes();
    for _ in 0..decimals {
        let digit = match fraction.next() {
            Some(digit @ b'0'..=b'9') => i64::from(digit - b'0'),
            Some(_) => return None,
            None => 0,
        };
        micros = micros.checked_mul(10)?.checked_add(digit)?;
    }
    fraction.all(|byte| byte.is_ascii_digit()).then_some(sign * micros)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float to integer cast saturates, which is what is wanted"
)]
fn saturating_micros(value: f64, decimals: usize) -> i64 {
    (value * if decimals == 3 { 1e3 } else { 1e6 }) as i64
}

// === impl AcceptedTimes ===

impl AcceptedTimes {
    /// Why a device's time is out of range, relative to `received_at`; `None` if it is not.
    pub fn objection(&self, time: Timestamp, received_at: Timestamp) -> Option<String> {
        let ahead = time.micros().saturating_sub(received_at.micros());
        if ahead > self.ahead_seconds.saturating_mul(MICROS_PER_SECOND) {
            let limit = self.ahead_seconds;
            return Some(format!(
                "ts {time} is more than {limit} s (MAX_CLOCK_SKEW_SECONDS) ahead of its receipt"
            ));
        }
        let oldest = self.age_days.saturating_mul(DAY).saturating_mul(MICROS_PER_SECOND);
        if ahead < -oldest {
            let limit = self.age_days;
            return Some(format!(
                "ts {time} is more than {limit} days (MAX_AGE_DAYS) older than its receipt"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOON: &str = "2026-02-03T12:00:00Z";
    const NOON_SECONDS: i64 = 1_770_120_000;

    #[test]
    fn every_form_of_the_same_time_reads_the_same() {
        let noon = Timestamp::from_micros(NOON_SECONDS * MICROS_PER_SECOND);
        for raw in [
            format!("\"{NOON}\""),
            "\"2026-02-03T13:00:00+01:00\"".to_owned(),
            "\"2026-02-03T12:00:00.000000Z\"".to_owned(),
            "\"2026-02-03T12:00:00\\u005a\"".to_owned(),
            NOON_SECONDS.to_string(),
            format!("{NOON_SECONDS}.0"),
            format!("{NOON_SECONDS}000"),
            format!("{NOON_SECONDS}e0"),
        ] {
            assert_eq!(read(&raw), Some(noon), "{raw}");
        }
    }

    #[test]
    fn fractions_are_exact_to_the_microsecond() {
        assert_eq!(
            read("1770120000.123456789"),
            Some(Timestamp::from_micros(1_770_120_000_123_456))
        );
        assert_eq!(
            read("1770120000123.456789"),
            Some(Timestamp::from_micros(1_770_120_000_123_456))
        );
        assert_eq!(read("-1.5"), Some(Timestamp::from_micros(-1_500_000)));
    }

    #[test]
    fn an_invalid_time_is_unreadable_and_a_huge_one_saturates() {
        for raw in [
            "\"yesterday\"",
            "\"\"",
            "true",
            "{}",
            "[]",
            "\"2026-02-30T00:00:00Z\"",
            "\"1770120000\"",
            "null",
        ] {
            assert_eq!(read(raw), None, "{raw}");
        }
        for raw in ["1e400000", "9223372036854775808", "1e300", "99999999999999999999999999"] {
            assert!(read(raw).is_some_and(|time| time.micros() > i64::MAX / 4), "{raw}");
        }
    }

    #[test]
    fn a_time_is_accepted_from_the_oldest_to_the_farthest_ahead() {
        let rule = AcceptedTimes { ahead_seconds: 300, age_days: 30 };
        let now = Timestamp::from_micros(NOON_SECONDS * MICROS_PER_SECOND);
        assert_eq!(rule.objection(now.plus_seconds(300), now), None);
        assert!(
            rule.objection(now.plus_seconds(301), now).unwrap().contains("MAX_CLOCK_SKEW_SECONDS")
        );
        assert_eq!(rule.objection(now.plus_seconds(-30 * DAY), now), None);
        assert!(
            rule.objection(now.plus_seconds(-30 * DAY - 1), now).unwrap().contains("MAX_AGE_DAYS")
        );
        for raw in ["\"0001-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\"", "1e400000", "-1e400000"]
        {
            assert!(rule.objection(read(raw).unwrap(), now).is_some(), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_time_written_in_any_form_reads_back(micros in -2_208_988_800_000_000_i64..4_102_444_800_000_000) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(read(&format!("\"{time}\"")), Some(time));
            let (seconds, rest) = (micros.abs() / 1_000_000, micros.abs() % 1_000_000);
            let sign = if micros < 0 { "-" } else { "" };
            prop_assert_eq!(read(&format!("{sign}{seconds}.{rest:06}")), Some(time));
        }

        #[test]
        fn no_text_makes_it_panic(raw in "\\PC{0,40}") {
            let _ = read(&raw);
        }

        #[test]
        fn no_number_makes_it_panic(raw in "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,9})?") {
            prop_assert!(read(&raw).is_some());
        }
    }
}
