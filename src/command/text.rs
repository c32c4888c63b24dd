//! Text that strangers chose, made safe for a terminal: no control character of a device reaches it.

use chrono::{DateTime, SecondsFormat, Utc};

/// Stands where there is nothing.
pub const NONE: &str = "-";

/// The most characters of a cell: one device's long topic must not make the lines of all others unreadable.
const CELL_CHARS: usize = 80;

/// The text with its control characters, and those that turn the direction of writing, written as escapes.
pub fn printable(text: &str) -> String {
    let turns =
        |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || turns(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// The same for a cell of a table, cut when it is long.
pub fn cell(text: &str) -> String {
    let mut safe = printable(text);
    if let Some((place, _)) = safe.char_indices().nth(CELL_CHARS).and_then(|_| safe.char_indices().nth(CELL_CHARS - 1))
    {
        safe.truncate(place);
        safe.push('\u{2026}');
    }
    safe
}

/// The same for a cell that may be missing.
pub fn cell_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| NONE.to_owned(), cell)
}

/// The printable text of what may be missing.
pub fn printable_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| NONE.to_owned(), printable)
}

/// Bytes as lower hex digits.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// A moment, to the second.
pub fn moment(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The same for one that may be missing.
pub fn moment_or_none(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| NONE.to_owned(), moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_cut_with_an_ellipsis_and_one_that_fits_is_left_alone() {
        let fits = "\u{e9}".repeat(CELL_CHARS);
        assert_eq!(cell(&fits), fits);
        let shown = cell(&"\u{e9}".repeat(60_000));
        assert_eq!((shown.chars().count(), shown.chars().last()), (CELL_CHARS, Some('\u{2026}')));
    }

    #[test]
    fn a_terminal_is_given_no_control_character() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{9b}\u{202e}c\u{e9}"), "a\\u{1b}[2Jb\\r\\n\\u{9b}\\u{202e}c\u{e9}");
    }
}
