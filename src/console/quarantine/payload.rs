//! A payload as text: JSON with its fields in lines, the text as it came, or bytes in hex.
//!
//! It is never HTML: the template escapes it. A long payload is shown in part.

use std::fmt::Write as _;

use crate::http::endpoints::quarantine::RefusedMessage;

/// Bytes of a payload that a page shows; the whole is one click away.
const PART: usize = 16 * 1024;

/// Bytes in a line of hex.
const HEX_LINE: usize = 16;

/// How a payload is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadForm {
    Pretty,
    Text,
    Hex,
}

/// A payload as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownPayload {
    pub form: PayloadForm,
    pub text: String,
    /// Bytes of the payload.
    pub bytes: usize,
    /// Whether only its beginning is shown.
    pub is_part: bool,
    /// Why it is not shown as the person wants it.
    pub note: &'static str,
}

// === impl PayloadForm ===

impl PayloadForm {
    pub(crate) const ALL: [Self; 3] = [Self::Pretty, Self::Text, Self::Hex];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Pretty => "Pretty",
            Self::Text => "Text",
            Self::Hex => "Hex",
        }
    }

    /// Its name in an address.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Text => "text",
            Self::Hex => "hex",
        }
    }

    pub(crate) fn from_name(name: Option<&str>) -> Self {
        let named = Self::ALL.into_iter().find(|form| Some(form.name()) == name);
        named.unwrap_or(Self::Pretty)
    }
}

// === impl ShownPayload ===

impl ShownPayload {
    /// The payload of a message; `None`: the person may not see it.
    pub(crate) fn of(message: &RefusedMessage, form: PayloadForm, is_whole: bool) -> Option<Self> {
        if let Some(text) = &message.payload {
            return Some(Self::of_text(text, form, is_whole));
        }
        let bytes = from_hex(message.payload_hex.as_deref()?);
        let note = if form == PayloadForm::Hex { "" } else { "The payload is not UTF-8." };
        Some(match form {
            PayloadForm::Pretty | PayloadForm::Hex => Self::hex(&bytes, is_whole, note),
            PayloadForm::Text => {
                let text = String::from_utf8_lossy(&bytes);
                Self { bytes: bytes.len(), note, ..Self::plain(&text, is_whole) }
            }
        })
    }

    fn of_text(text: &str, form: PayloadForm, is_whole: bool) -> Self {
        match form {
            PayloadForm::Hex => Self::hex(text.as_bytes(), is_whole, ""),
            PayloadForm::Text => Self::plain(text, is_whole),
            PayloadForm::Pretty => {
                let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
                let pretty = json.and_then(|json| serde_json::to_string_pretty(&json).ok());
                match pretty {
                    Some(pretty) => Self {
                        form: PayloadForm::Pretty,
                        bytes: text.len(),
                        ..Self::plain(&pretty, is_whole)
                    },
                    None => {
                        Self { note: "The payload is not JSON.", ..Self::plain(text, is_whole) }
                    }
                }
            }
        }
    }

    fn plain(text: &str, is_whole: bool) -> Self {
        let mut end = if is_whole { text.len() } else { text.len().min(PART) };
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            form: PayloadForm::Text,
            text: visible(&text[..end]),
            bytes: text.len(),
            is_part: end < text.len(),
            note: "",
        }
    }

    fn hex(bytes: &[u8], is_whole: bool, note: &'static str) -> Self {
        // A byte takes four characters here.
        let end = if is_whole { bytes.len() } else { bytes.len().min(PART / 4) };
        let mut text = String::new();
        for (line, chunk) in bytes[..end].chunks(HEX_LINE).enumerate() {
            // Writing to a string does not fail.
            let _ = write!(text, "{:06x} ", line * HEX_LINE);
            for byte in chunk {
                let _ = write!(text, " {byte:02x}");
            }
            let gap = (HEX_LINE - chunk.len()) * 3 + 2;
            let _ = write!(text, "{:gap$}", "");
            text.extend(
                chunk.iter().map(
                    |byte| {
                        if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }
                    },
                ),
            );
            text.push('\n');
        }
        let is_part = end < bytes.len();
        Self { form: PayloadForm::Hex, text, bytes: bytes.len(), is_part, note }
    }
}

// === private helpers ===

/// Control characters as their pictures, so that a reader sees them and nothing obeys them.
fn visible(text: &str) -> String {
    let picture = |character: char| match character {
        '\n' | '\t' => character,
        '\u{7f}' => '\u{2421}',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        // Marks that change the direction of the text around them.
        '\u{80}'..='\u{9f}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other => other,
    };
    text.chars().map(picture).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    text.as_bytes().chunks(2).filter_map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_and_what_is_none_is_shown_as_it_is() {
        let pretty = ShownPayload::of_text(r#"{"a":{"b":1}}"#, PayloadForm::Pretty, false);
        assert_eq!(pretty.text, "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
        assert_eq!((pretty.form, pretty.bytes, pretty.note), (PayloadForm::Pretty, 13, ""));
        let text = ShownPayload::of_text("no\u{1b}[2J json\u{202e}", PayloadForm::Pretty, false);
        assert_eq!(text.text, "no\u{241b}[2J json\u{fffd}");
        assert_eq!((text.form, text.note), (PayloadForm::Text, "The payload is not JSON."));
    }

    #[test]
    fn a_long_payload_is_shown_in_part_and_whole_on_demand() {
        let long = "<".repeat(64 * 1024);
        let part = ShownPayload::of_text(&long, PayloadForm::Text, false);
        assert_eq!((part.text.len(), part.bytes, part.is_part), (PART, 65_536, true));
        let whole = ShownPayload::of_text(&long, PayloadForm::Text, true);
        assert_eq!((whole.text.len(), whole.is_part), (65_536, false));
        let hex = ShownPayload::of_text(&long, PayloadForm::Hex, false);
        assert!(hex.is_part && hex.text.len() < 2 * PART, "{}", hex.text.len());
    }

    #[test]
    fn bytes_are_lines_of_hex() {
        let hex = ShownPayload::hex(&from_hex("ff0041"), false, "");
        assert_eq!(hex.text.trim_end(), format!("000000  ff 00 41{:41}..A", ""));
    }
}
