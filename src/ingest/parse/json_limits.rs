//! Limits of well-formed JSON text that a parser does not check: depth, number of keys, and whether
//! jsonb stores it.
//!
//! It builds nothing and allocates nothing.

/// jsonb stores every digit of a number: the eight bytes `1e131071` become 131 kilobytes. So
/// exponents are limited; those of doubles lie between -324 and 308.
const MAX_EXPONENT: i64 = 400;

/// Whether any value of this JSON text nests deeper than `limit` (the text's own object or array is
/// depth 1).
pub fn deeper_than(json: &str, limit: usize) -> bool {
    // Fewer opening brackets than the limit cannot nest deeper, and counting is far faster than
    // tracking.
    if memchr::memchr2_iter(b'{', b'[', json.as_bytes()).count() <= limit {
        return false;
    }
    let mut depth = 0_usize;
    outside_strings(json, |byte| match byte {
        b'{' | b'[' => {
            depth += 1;
            depth <= limit
        }
        b'}' | b']' => {
            depth = depth.saturating_sub(1);
            true
        }
        _ => true,
    })
    .is_break()
}

/// Whether this JSON object has more than `limit` keys at its top level.
pub fn more_keys_than(object: &str, limit: usize) -> bool {
    if memchr::memchr_iter(b':', object.as_bytes()).count() <= limit {
        return false;
    }
    let (mut depth, mut keys) = (0_usize, 0_usize);
    outside_strings(object, |byte| {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => keys += 1,
            _ => {}
        }
        keys <= limit
    })
    .is_break()
}

/// Why jsonb refuses or inflates this well-formed text; `None` if it does not.
pub fn unstorable(json: &str) -> Option<&'static str> {
    let bytes = json.as_bytes();
    let escapes = memchr::memchr(b'\\', bytes).is_some().then(|| bad_escape(bytes)).flatten();
    escapes
        .or_else(|| has_number_out_of_range(bytes).then_some("a number has an exponent beyond 400"))
}

/// Calls `each` for every byte outside of strings until it says false.
fn outside_strings(json: &str, mut each: impl FnMut(u8) -> bool) -> std::ops::ControlFlow<()> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at = after_string(bytes, at);
            continue;
        }
        if !each(bytes[at]) {
            return std::ops::ControlFlow::Break(());
        }
        at += 1;
    }
    std::ops::ControlFlow::Continue(())
}

/// The index after the closing quote of the string that opens at `open`.
fn after_string(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += step;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// `\u0000` and surrogates without their other half, which JSON allows and jsonb does not. Escapes
/// stand only in strings.
fn bad_escape(bytes: &[u8]) -> Option<&'static str> {
    let mut at = 0;
    let mut open_high = None;
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        let start = at + step;
        let unit =
            (bytes.get(start + 1) == Some(&b'u')).then(|| hex_unit(bytes, start + 2)).flatten();
        let follows_high = open_high == Some(start);
        match unit {
            Some(0) => return Some("jsonb cannot store the character \\u0000"),
            Some(0xDC00..=0xDFFF) if follows_high => open_high = None,
            Some(0xDC00..=0xDFFF) => return Some("jsonb cannot store half of a surrogate pair"),
            _ if open_high.is_some() => return Some("jsonb cannot store half of a surrogate pair"),
            Some(0xD800..=0xDBFF) => open_high = Some(start + 6),
            _ => {}
        }
        at = start + if unit.is_some() { 6 } else { 2 };
    }
    open_high.map(|_| "jsonb cannot store half of a surrogate pair")
}

fn hex_unit(bytes: &[u8], from: usize) -> Option<u16> {
    let digits = std::str::from_utf8(bytes.get(from..from + 4)?).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

/// Strings are skipped only after a candidate appears, in one pass for all of them.
fn has_number_out_of_range(bytes: &[u8]) -> bool {
    if !memchr::memchr2_iter(b'e', b'E', bytes).any(|at| is_out_of_range(bytes, at)) {
        return false;
    }
    let mut at = 0;
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr::memchr3(b'"', b'e', b'E', rest))
    {
        at += step;
        if bytes[at] == b'"' {
            at = after_string(bytes, at);
        } else if is_out_of_range(bytes, at) {
            return true;
        } else {
            at += 1;
        }
    }
    false
}

/// Whether an exponent behind this `e` is out of range.
fn is_out_of_range(bytes: &[u8], e: usize) -> bool {
    exponent(&bytes[e + 1..]).is_some_and(|exponent| exponent.abs() > MAX_EXPONENT)
}

/// The number behind an `e`; one with too many digits saturates.
fn exponent(after: &[u8]) -> Option<i64> {
    let (negative, digits) = match after {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = std::str::from_utf8(&digits[..count]).ok().filter(|text| !text.is_empty())?;
    let size: i64 = text.parse().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn depth_counts_objects_and_arrays_and_nothing_in_strings() {
        assert!(!deeper_than(r#"{"a":{"b":[1]}}"#, 3));
        assert!(deeper_than(r#"{"a":{"b":[1]}}"#, 2));
        assert!(!deeper_than(r#"{"a":"{{{{[[[[\"{{{"}"#, 1));
        assert!(deeper_than(&"[".repeat(100_000), 16));
    }

    #[test]
    fn only_the_keys_of_the_object_itself_count() {
        let object = r#"{"a":{"x":1,"y":2},"b:c":"::::","d":[{"z":1}]}"#;
        assert!(!more_keys_than(object, 3));
        assert!(more_keys_than(object, 2));
    }

    #[test]
    fn an_unstorable_payload_is_recognized_and_no_other() {
        for bad in [
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800x"}"#,
            r#"{"a":"\ud800\n"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\ud83d\ud83d"}"#,
            r#"{"a":1e400000}"#,
            r#"{"a":-1E+400000}"#,
            r#"{"a":1e-400000}"#,
            r#"{"a":1e99999999999999999999}"#,
            r#"{"a":1e131071}"#,
            r#"{"a":[-10e401]}"#,
            r#"{"a":12.5E401}"#,
            r#"{"a":0e-401}"#,
            r#"{"1e999999":"2e999999","a":10e401}"#,
        ] {
            assert!(unstorable(bad).is_some(), "{bad}");
        }
        for good in [
            r#"{"a":"\ud83d\ude00"}"#,
            r#"{"a":"\\u0000"}"#,
            r#"{"a":"\\ud800"}"#,
            r#"{"a":1e300,"b":-0,"c":9223372036854775808}"#,
            r#"{"a":"1e400000"}"#,
            r#"{"a":"\n\t\"\\"}"#,
            r#"{"1e999999":"2e999999"}"#,
            r#"{"a":1e400,"b":9.99E+400,"c":0.001e-400,"d":1.7976931348623157e308,"e":5e-324}"#,
        ] {
            assert_eq!(unstorable(good), None, "{good}");
        }
    }

    #[test]
    fn strings_that_look_like_numbers_are_read_once_however_many_they_are() {
        let crowd = format!("[{}1]", r#""1e999999","#.repeat(100_000));
        let started = std::time::Instant::now();
        assert_eq!(unstorable(&crowd), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn depth_agrees_with_a_parser(json in arbitrary_json()) {
            let text = json.to_string();
            let depth = depth_of(&json);
            prop_assert!(!deeper_than(&text, depth));
            prop_assert!(depth == 0 || deeper_than(&text, depth - 1));
            prop_assert_eq!(unstorable(&text), None);
            if let Some(object) = json.as_object() {
                prop_assert!(!more_keys_than(&text, object.len()));
                prop_assert!(object.is_empty() || more_keys_than(&text, object.len() - 1));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\\\u0d8c\"{}\\[\\]:,e+\\-1]{0,60}") {
            let _ = (deeper_than(&text, 2), more_keys_than(&text, 2), unstorable(&text));
        }
    }

    fn depth_of(json: &serde_json::Value) -> usize {
        match json {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(fields) => {
                1 + fields.values().map(depth_of).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(Into::into),
            "[a-z{}\\[\\]:\"\\\\\u{1F600}]{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
                prop::collection::btree_map("[a-z:]{0,4}", inner, 0..5)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
