//! Makes untrusted text safe for a terminal: no control character from a device reaches it.

use chrono::{DateTime, SecondsFormat, Utc};

/// Placeholder for a missing value.
pub const NONE: &str = "-";

/// Longest cell in characters, so that one long topic leaves the other lines readable.
const CELL_CHARS: usize = 80;

/// Escapes control characters and bidirectional formatting characters.
pub fn printable(text: &str) -> String {
    let turns = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
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

/// [`printable`] text for a table cell, cut at `CELL_CHARS`.
pub fn cell(text: &str) -> String {
    let mut safe = printable(text);
    if let Some((place, _)) =
        safe.char_indices().nth(CELL_CHARS).and_then(|_| safe.char_indices().nth(CELL_CHARS - 1))
    {
        safe.truncate(place);
        safe.push('\u{2026}');
    }
    safe
}

/// [`cell`], or [`NONE`] for `None`.
pub fn cell_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| NONE.to_owned(), cell)
}

/// [`printable`] text, or [`NONE`] for `None`.
pub fn printable_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| NONE.to_owned(), printable)
}

/// A time in RFC 3339, to the second.
pub fn moment(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// [`moment`], or [`NONE`] for `None`.
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
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\u{9b}\u{202e}c\u{e9}"),
            "a\\u{1b}[2Jb\\r\\n\\u{9b}\\u{202e}c\u{e9}"
        );
    }
}
