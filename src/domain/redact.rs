//! Cuts provisioning tokens out of payloads before they are kept.
//!
//! It does not need the payload to be JSON: it reads tokens of JSON wherever they stand, whole or broken off, and cuts
//! the value that follows a key named `provision_token` at any depth, however the key is escaped.

use bytes::Bytes;

/// The key whose value is a secret.
const SECRET_KEY: &[u8] = b"provision_token";

/// What stands in place of a token.
const REDACTED: &[u8] = b"\"[redacted]\"";

/// The payload without its tokens; the same bytes, shared, when it holds none.
pub fn redact(payload: &Bytes) -> Bytes {
    let cuts = merged(secrets(payload), embedded(payload));
    if cuts.is_empty() {
        return payload.clone();
    }
    let mut clean = Vec::with_capacity(payload.len());
    let mut from = 0;
    for (start, end) in cuts {
        clean.extend_from_slice(&payload[from..start]);
        clean.extend_from_slice(REDACTED);
        from = end;
    }
    clean.extend_from_slice(&payload[from..]);
    clean.into()
}

/// Where tokens lie in the payload, in order.
pub fn secrets(payload: &[u8]) -> Vec<(usize, usize)> {
    // A key may be written with escapes, so a payload with a backslash is always read.
    let suspicious = memchr::memmem::find(payload, SECRET_KEY).is_some() || memchr::memchr(b'\\', payload).is_some();
    if suspicious { secret_spans(payload) } else { Vec::new() }
}

fn secret_spans(payload: &[u8]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut at = 0;
    // A quote that nothing closes is no beginning of a string that would hide a key: from there on only the key itself counts.
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

/// Where JSON that stands as text within a string names the key: from there to the end of that string nothing is kept.
fn embedded(payload: &[u8]) -> Vec<(usize, usize)> {
    let named = memchr::memmem::find_iter(payload, SECRET_KEY);
    named
        .filter_map(|at| {
            let after = at + SECRET_KEY.len();
            // An escaped quote ends the key: the text is within a string.
            payload[after..].starts_with(b"\\").then(|| (after, end_of_text(payload, after)))
        })
        .collect()
}

/// The end of the string that stands around `from`.
fn end_of_text(payload: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < payload.len() && payload[at] != b'"' {
        at += 1 + usize::from(payload[at] == b'\\');
    }
    at.min(payload.len())
}

/// All cuts in order, none within another.
fn merged(mut cuts: Vec<(usize, usize)>, more: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    if more.is_empty() {
        return cuts;
    }
    cuts.extend(more);
    cuts.sort_unstable();
    cuts.dedup_by(|next, kept| {
        let overlap = next.0 < kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
    cuts
}

/// The index of the closing quote of the string that opens at `open`, or the end of a broken-off payload.
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
                let code = std::str::from_utf8(&hex[..4]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
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

/// The span of the value after a key: what follows `:` (or `=`, in text that is no JSON), to its end.
fn value_after(payload: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = skip_blanks(payload, from);
    // `:` of JSON and YAML, `=` of forms, `=>` of printed maps, `>` of XML.
    let sign = match payload.get(start..)? {
        [b'=', b'>', ..] => 2,
        [b':' | b'=' | b'>', ..] => 1,
        _ => return None,
    };
    let start = skip_blanks(payload, start + sign);
    let end = match payload.get(start)? {
        b'"' | b'\'' => (end_of_string(payload, start) + 1).min(payload.len()),
        b'{' | b'[' => end_of_nest(payload, start),
        _ => {
            start
                + payload[start..]
                    .iter()
                    .position(|byte| b",}] \t\r\n&;<".contains(byte))
                    .unwrap_or(payload.len() - start)
        }
    };
    (start < end).then_some((start, end))
}

/// The end of an object or array that stands where a token should: all of it goes.
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
    fn a_token_is_cut_wherever_it_stands() {
        for (given, kept) in [
            (r#"{"provision_token":"s3cret","a":1}"#, r#"{"provision_token":"[redacted]","a":1}"#),
            (r#"{"a":{"provision_token" : "s3\"cret"}}"#, r#"{"a":{"provision_token" : "[redacted]"}}"#),
            (r#"{"provision\u005ftoken":"s3cret"}"#, r#"{"provision\u005ftoken":"[redacted]"}"#),
            (r#"{"provision_token":"s3cr"#, r#"{"provision_token":"[redacted]""#),
            (r#"{"provision_token":12345}"#, r#"{"provision_token":"[redacted]"}"#),
            (r#"{"provision_token":["s3cret"],"b":2}"#, r#"{"provision_token":"[redacted]","b":2}"#),
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
            (r#"{"provision_token"=>"s3cret", "a"=>1}"#, r#"{"provision_token"=>"[redacted]", "a"=>1}"#),
            (
                r#"{"text":"{\"provision_token\":\"s3cret\"}","a":1}"#,
                r#"{"text":"{\"provision_token"[redacted]"","a":1}"#,
            ),
            (r#""{\"provision_token\":\"s3cret"#, r#""{\"provision_token"[redacted]""#),
            (r#"{"a":"b, "provision_token":"s3cret"}"#, r#"{"a":"b, "provision_token":"[redacted]"}"#),
            (r#"{a: it's, "provision_token": "s3cret"}"#, r#"{a: it's, "provision_token": "[redacted]"}"#),
        ] {
            assert_eq!(redacted(given), kept);
        }
    }

    #[test]
    fn a_payload_without_a_token_is_the_same_bytes() {
        for text in [r#"{"metrics":{"t":1}}"#, r#"{"note":"the provision_token of old"}"#, r#"{"a":"\n"}"#, ""] {
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
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = redact(&Bytes::from(bytes));
        }

        #[test]
        fn no_near_miss_makes_it_panic(text in "[{}\\[\\]\"'\\\\:= ]{0,10}provision_token[{}\\[\\]\"'\\\\:=,a ]{0,12}") {
            let _ = redact(&Bytes::from(text));
        }
    }
}
