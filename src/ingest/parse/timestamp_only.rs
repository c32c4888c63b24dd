//! Reads only `ts`, from the start of a payload that is otherwise not read: too large, not JSON, or
//! on an invalid topic.
//!
//! It serves to recognize a redelivery of such a message. It checks nothing, copies nothing, and
//! reads at most [`LOOK_BYTES`].

use super::timestamp;
use crate::domain::time::Timestamp;

/// Bytes in which `ts` is searched.
const LOOK_BYTES: usize = 1_024;

/// `ts` at the top level of the object, if it can be read.
pub fn time(payload: &[u8]) -> Option<Timestamp> {
    let head = &payload[..payload.len().min(LOOK_BYTES)];
    let mut rest = head.trim_ascii_start().strip_prefix(b"{")?;
    loop {
        let (key, after) = string(rest.trim_ascii_start())?;
        let (value, after) =
            value(after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())?;
        if key == b"\"ts\"" {
            let time = timestamp::read(std::str::from_utf8(value).ok()?)?;
            return time.is_storable().then_some(time);
        }
        rest = after.trim_ascii_start().strip_prefix(b",")?;
    }
}

// --- private helpers: each splits one item off; `None` if it is incomplete ---

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = bytes.iter().skip(1).position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    })?;
    bytes.split_at_checked(end + 2)
}

fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes.first()? {
        b'"' => string(bytes),
        b'{' | b'[' => nested(bytes),
        _ => {
            let end = bytes
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b",}]".contains(byte))?;
            bytes.split_at_checked(end)
        }
    }
}

fn nested(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string(&bytes[at..])?.0.len();
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return bytes.split_at_checked(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ts_is_found_at_the_top_level_of_a_truncated_object() {
        let at = Some(Timestamp::from_micros(1_750_000_000_000_000));
        for found in [
            r#"{"ts":1750000000,"#,
            r#" { "a" : {"ts":1,"b":["}\"",2]} , "ts" : 1750000000 }"#,
            r#"{"ts":"2025-06-15T15:06:40Z" nonsense"#,
            r#"{"x":"ts","y\"":null,"ts":1750000000.0}trailing"#,
        ] {
            assert_eq!(time(found.as_bytes()), at, "{found}");
        }
        let far = format!(r#"{{"a":"{}","ts":1750000000}}"#, "x".repeat(LOOK_BYTES));
        for none in [
            "",
            "{",
            "ts",
            r#"["ts",1]"#,
            r#"{"a":{"ts":1750000000}}"#,
            r#"{"ts":17500"#,
            r#"{"ts":{}}"#,
            &far,
        ] {
            assert_eq!(time(none.as_bytes()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn it_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), json in r#"[{}\[\]",:\\ts0-9 ]{0,200}"#) {
            let _ = (time(&bytes), time(json.as_bytes()));
        }
    }
}
