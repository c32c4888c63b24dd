//! Sizes and durations as a file writes them: `256MiB`, `90s`, `7d`.
//!
//! A number without a unit is no duration.

use std::time::Duration;

const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

const SPANS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// Reads a size: a whole number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `KB`, `MB` or `GB`.
pub(super) fn size(text: &str) -> Option<u64> {
    with_unit(text, &SIZES)
}

/// Reads a duration: a whole number with `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    with_unit(text, &SPANS).map(Duration::from_secs)
}

/// The size in the largest unit that leaves no rest.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &[SIZES[3], SIZES[2], SIZES[1], SIZES[0]]).unwrap_or_else(|| format!("{bytes}B"))
}

/// The duration in the largest unit that leaves no rest.
pub(super) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    show(seconds, &[SPANS[3], SPANS[2], SPANS[1]]).unwrap_or_else(|| format!("{seconds}s"))
}

// --- private helpers ---

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    // The first unit that fits is the right one: `B` is behind those that end with it.
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let digits = digits.trim_end_matches(' ');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(*factor)
}

fn show(number: u64, units: &[(&str, u64)]) -> Option<String> {
    let (unit, factor) =
        units.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor))?;
    Some(format!("{}{unit}", number / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_and_a_duration_have_a_unit() {
        for (text, expected) in [
            ("256MiB", Some(256 << 20)),
            ("64 KiB", Some(64 << 10)),
            ("1TiB", Some(1 << 40)),
            ("100KB", Some(100_000)),
            ("12B", Some(12)),
            ("12", None),
            ("MiB", None),
            ("-1MiB", None),
            ("+1MiB", None),
            ("1.5MiB", None),
            ("99999999999999999999B", None),
            ("18446744073709551615KiB", None),
            ("1mib", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        for (text, seconds) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3600)),
            ("7d", Some(604_800)),
            ("60", None),
            ("1w", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(|span| span.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for (bytes, text) in [(64 << 10, "64KiB"), (1 << 40, "1TiB"), (1025, "1025B"), (0, "0B")] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(size(text), Some(bytes));
        }
        for (seconds, text) in [(1160, "1160s"), (1200, "20m"), (604_800, "7d"), (3600, "1h")] {
            assert_eq!(show_duration(Duration::from_secs(seconds)), text);
        }
    }
}
