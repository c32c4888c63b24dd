//! Removes provisioning tokens from payloads before they are stored.
//!
//! The payload need not be JSON. It finds JSON tokens anywhere, complete or cut off, and removes
//! the value behind a key named `provision_token` at any depth, even if the key is escaped.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

/// The key whose value is a secret.
const SECRET_KEY: &[u8] = b"provision_token";

/// Searches for the key; built once, because building costs more than two searches of a small
/// payload.
static SECRET_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(SECRET_KEY));

/// Replaces a token that is a value, and one within a string.
const REDACTED: &[u8] = b"\"[redacted]\"";
const REDACTED_TEXT: &[u8] = b"[redacted]";

/// Returns the payload without its tokens; the same shared bytes if it has none. Valid JSON stays
/// valid.
pub fn redact(payload: &Bytes) -> Bytes {
    if !is_suspicious(payload) {
        return payload.clone();
    }
    let values = secrets(payload).into_iter().map(|cut| (cut, REDACTED));
    let mut cuts: Vec<_> =
        values.chain(embedded(payload).into_iter().map(|cut| (cut, REDACTED_TEXT))).collect();
    if cuts.is_empty() {
        return payload.clone();
    }
    // Of two overlapping spans the outer one is first, and covers both.
    cuts.sort_by_key(|((start, end), _)| (*start, std::cmp::Reverse(*end)));
    let mut clean = Vec::with_capacity(payload.len());
    let mut from = 0;
    for ((start, end), instead) in cuts {
        if start >= from {
            clean.extend_from_slice(&payload[from..start]);
            clean.extend_from_slice(instead);
            from = end;
        }
    }
    clean.extend_from_slice(&payload[from..]);
    clean.into()
}

/// Spans of the tokens, in order.
pub fn secrets(payload: &[u8]) -> Vec<(usize, usize)> {
    if is_suspicious(payload) { secret_spans(payload) } else { Vec::new() }
}

/// Whether the payload may contain a token. A key may have escapes, so a payload with a backslash is
/// always searched.
fn is_suspicious(payload: &[u8]) -> bool {
    SECRET_FINDER.find(payload).is_some() || memchr::memchr(b'\\', payload).is_some()
}

fn secret_spans(payload: &[u8]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut at = 0;
    // A quote without an end does not start a string that could hide a key: from there on only the
    // key itself counts.
    let mut quotes_count = true;
    while at < payload.len() {
        let (is_key, after) = match payload[at] {
            b'"' | b'\'' if quotes_count => {
                let end = end_of_string(payload, at);
                if end >= payload.len() {
                    quotes_count = false;
                    continue;
                }
                (names_the_secret(&payload[at + 1..end]), end + 1)
            }
            b'p' if payload[at..].starts_with(SECRET_KEY) => {
                let end = at + SECRET_KEY.len();
                (true, end + usize::from(matches!(payload.get(end), Some(b'"' | b'\''))))
            }
            _ => (false, at + 1),
        };
        at = after;
        if is_key && let Some((start, end)) = value_after(payload, after) {
            spans.push((start, end));
            at = end;
        }
    }
    spans
}

/// Spans of tokens in JSON or a form inside a string, where quotes have backslashes before them.
fn embedded(payload: &[u8]) -> Vec<(usize, usize)> {
    let named = SECRET_FINDER.find_iter(payload);
    named.filter_map(|at| embedded_value(payload, at + SECRET_KEY.len())).collect()
}

/// Span of the value behind an embedded key that ends at `from`.
fn embedded_value(payload: &[u8], from: usize) -> Option<(usize, usize)> {
    let after_key = match quote_at(payload, from) {
        // An even number of backslashes: the quote ends the string, and the rest is outside it.
        Some((slashes, _)) if slashes % 2 == 0 => return None,
        Some((_, after)) => after,
        None => from,
    };
    let start = skip_blanks(payload, after_sign(payload, skip_blanks(payload, after_key))?);
    let (start, end) = match quote_at(payload, start) {
        Some((slashes, _)) if slashes % 2 == 0 => return None,
        Some((slashes, inside)) => (inside, end_of_embedded_string(payload, inside, slashes)),
        None => (start, end_of_word(payload, start)),
    };
    (start < end).then_some((start, end))
}

/// A quote with backslashes before it: their number, and the end of the quote.
fn quote_at(payload: &[u8], from: usize) -> Option<(usize, usize)> {
    let slashes = payload.get(from..)?.iter().take_while(|byte| **byte == b'\\').count();
    (payload.get(from + slashes) == Some(&b'"')).then_some((slashes, from + slashes + 1))
}

/// End of a string whose quotes have `slashes` backslashes before them: where these begin, or where
/// the outer text ends. Of more backslashes the last few belong to the quote, and the others, an
/// even number, to the string; if their number is odd there, the quote does too.
fn end_of_embedded_string(payload: &[u8], from: usize, slashes: usize) -> usize {
    let mut at = from;
    while at < payload.len() {
        let run = payload[at..].iter().take_while(|byte| **byte == b'\\').count();
        if payload.get(at + run) == Some(&b'"') {
            let more = run.saturating_sub(slashes);
            if run % 2 == 0 {
                return at + run;
            }
            if run <= slashes || (more / (slashes + 1)).is_multiple_of(2) {
                return at + run - run.min(slashes);
            }
        }
        at += run + 1;
    }
    payload.len()
}

/// The index of the closing quote of the string that opens at `open`, or the end of a broken-off
/// payload.
fn end_of_string(payload: &[u8], open: usize) -> usize {
    let quote = payload[open];
    let mut at = open + 1;
    while at < payload.len() {
        match payload[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at,
            _ => at += 1,
        }
    }
    payload.len()
}

/// Whether the inside of a string spells the key, `\uXXXX` escapes understood.
fn names_the_secret(mut inside: &[u8]) -> bool {
    for &expected in SECRET_KEY {
        let (byte, used) = match inside {
            [b'\\', b'u', hex @ ..] if hex.len() >= 4 => {
                let code = std::str::from_utf8(&hex[..4])
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                (code.unwrap_or(0), 6)
            }
            [byte, ..] => (*byte, 1),
            [] => return false,
        };
        if byte != expected {
            return false;
        }
        inside = &inside[used..];
    }
    inside.is_empty()
}

/// Span of the value after a key: from behind `:` (or `=`, outside JSON) to its end.
fn value_after(payload: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = skip_blanks(payload, from);
    let start = skip_blanks(payload, after_sign(payload, start)?);
    let end = match payload.get(start)? {
        b'"' | b'\'' => (end_of_string(payload, start) + 1).min(payload.len()),
        b'{' | b'[' => end_of_nest(payload, start),
        _ => end_of_word(payload, start),
    };
    (start < end).then_some((start, end))
}

/// Skips the sign between key and value: `:` of JSON and YAML, `=` of forms, `=>` of printed maps,
/// `>` of XML.
fn after_sign(payload: &[u8], at: usize) -> Option<usize> {
    match payload.get(at..)? {
        [b'=', b'>', ..] => Some(at + 2),
        [b':' | b'=' | b'>', ..] => Some(at + 1),
        _ => None,
    }
}

/// The end of a value without quotes.
fn end_of_word(payload: &[u8], from: usize) -> usize {
    let is_end = |byte: &u8| b",}] \t\r\n&;<\"\\".contains(byte);
    from + payload[from..].iter().position(is_end).unwrap_or(payload.len() - from)
}

/// End of an object or array in the place of a token: all of it is removed.
fn end_of_nest(payload: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = open;
    while at < payload.len() {
        match payload[at] {
            b'"' => at = end_of_string(payload, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    payload.len()
}

fn skip_blanks(payload: &[u8], from: usize) -> usize {
    from + payload[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redacted(text: &str) -> String {
        String::from_utf8(redact(&Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn a_token_is_removed_wherever_it_is() {
        for (given, kept) in [
            (r#"{"provision_token":"s3cret","a":1}"#, r#"{"provision_token":"[redacted]","a":1}"#),
            (
                r#"{"a":{"provision_token" : "s3\"cret"}}"#,
                r#"{"a":{"provision_token" : "[redacted]"}}"#,
            ),
            (r#"{"provision\u005ftoken":"s3cret"}"#, r#"{"provision\u005ftoken":"[redacted]"}"#),
            (r#"{"provision_token":"s3cr"#, r#"{"provision_token":"[redacted]""#),
            (r#"{"provision_token":12345}"#, r#"{"provision_token":"[redacted]"}"#),
            (
                r#"{"provision_token":["s3cret"],"b":2}"#,
                r#"{"provision_token":"[redacted]","b":2}"#,
            ),
            (
                r#"{"provision_token":"a","provision_token":"b"}"#,
                r#"{"provision_token":"[redacted]","provision_token":"[redacted]"}"#,
            ),
            ("{provision_token: s3cret}", r#"{provision_token: "[redacted]"}"#),
            ("provision_token=s3cret&x=1", r#"provision_token="[redacted]"&x=1"#),
            (
                "<m><provision_token>s3cret</provision_token></m>",
                r#"<m><provision_token>"[redacted]"</provision_token></m>"#,
            ),
            (
                r#"{"provision_token"=>"s3cret", "a"=>1}"#,
                r#"{"provision_token"=>"[redacted]", "a"=>1}"#,
            ),
            (
                r#"{"text":"{\"provision_token\":\"s3cret\"}","a":1}"#,
                r#"{"text":"{\"provision_token\":\"[redacted]\"}","a":1}"#,
            ),
            (
                r#"{"text":"{\"provision_token\":\"s3\\\"cret\",\"a\":1}"}"#,
                r#"{"text":"{\"provision_token\":\"[redacted]\",\"a\":1}"}"#,
            ),
            (
                r#"{"text":"{\"text\":\"{\\\"provision_token\\\":\\\"s3cret\\\"}\"}"}"#,
                r#"{"text":"{\"text\":\"{\\\"provision_token\\\":\\\"[redacted]\\\"}\"}"}"#,
            ),
            (
                r#"{"text":"{\"provision_token\":12345}"}"#,
                r#"{"text":"{\"provision_token\":[redacted]}"}"#,
            ),
            (
                r#"{"text":"a=1&provision_token=s3cret&b=2"}"#,
                r#"{"text":"a=1&provision_token=[redacted]&b=2"}"#,
            ),
            (r#""{\"provision_token\":\"s3cret"#, r#""{\"provision_token\":\"[redacted]"#),
            (
                r#"{"a":"b, "provision_token":"s3cret"}"#,
                r#"{"a":"b, "provision_token":"[redacted]"}"#,
            ),
            (
                r#"{a: it's, "provision_token": "s3cret"}"#,
                r#"{a: it's, "provision_token": "[redacted]"}"#,
            ),
        ] {
            assert_eq!(redacted(given), kept);
        }
    }

    #[test]
    fn a_payload_without_a_token_is_the_same_bytes() {
        for text in [
            r#"{"metrics":{"t":1}}"#,
            r#"{"note":"the provision_token of old"}"#,
            r#"{"note":"about provision_token\n and more"}"#,
            r#"{"path":"C:\\provision_token\\x"}"#,
            r#"{"provision_token\"x":1}"#,
            r#"{"a":"provision_token\\","b":":"}"#,
            r#"{"a":"\n"}"#,
            "",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_token_survives_in_an_object_however_it_is_cut_off(
            token in "[a-z]{12}[0-9]{4}", before in "[a-z\"\\\\{}:, ]{0,20}", cut in 0_usize..200,
        ) {
            let key = serde_json::to_string(&before).unwrap();
            let whole = format!("{{{key}:1,\"provision_token\":\"{token}\",\"z\":[1,2]}}");
            let cut = cut.min(whole.len());
            prop_assert!(!redacted(&whole[..cut]).contains(&token[..8]) || cut < whole.find(&token).unwrap() + 8);
            prop_assert!(!redacted(&whole).contains(&token));
        }

        #[test]
        fn json_stays_json_and_a_nested_token_is_removed(
            token in "[a-z]{12}[0-9\"\\\\]{0,4}", text in "[a-z\"\\\\:={}, \n]{0,12}(provision_token)?[\"\\\\:=>{}, \na]{0,8}", depth in 0_usize..4,
        ) {
            let mut value = serde_json::json!({ "provision_token": token, "text": text, "b": [1, 2] });
            for _ in 0..depth {
                value = serde_json::json!({ "text": value.to_string(), "t": text });
            }
            let kept = redacted(&value.to_string());
            prop_assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok(), "{value} became {kept}");
            prop_assert!(!kept.contains(&token[..12]), "{value} became {kept}");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = redact(&Bytes::from(bytes));
        }

        #[test]
        fn no_near_miss_makes_it_panic(text in "[{}\\[\\]\"'\\\\:= ]{0,10}provision_token[{}\\[\\]\"'\\\\:=,a ]{0,12}") {
            let _ = redact(&Bytes::from(text));
        }
    }
}
