//! JSON merge patches (RFC 7396) on text, so that no change of one member rounds the number of
//! another.
//!
//! It bounds nothing: its callers bound patches and results.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

type Members = BTreeMap<String, Box<RawValue>>;

/// `patch` applied to `target`: null removes, objects merge, everything else replaces.
pub fn merged(target: Option<&RawValue>, patch: &RawValue) -> serde_json::Result<Box<RawValue>> {
    if !is_object(patch) {
        return Ok(patch.to_owned());
    }
    let mut members: Members = match target.filter(|target| is_object(target)) {
        Some(target) => serde_json::from_str(target.get())?,
        None => Members::new(),
    };
    for (name, value) in serde_json::from_str::<Members>(patch.get())? {
        if value.get() == "null" {
            members.remove(&name);
        } else {
            let value = merged(members.get(&name).map(AsRef::as_ref), &value)?;
            members.insert(name, value);
        }
    }
    serde_json::value::to_raw_value(&members)
}

// === private helpers ===

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// Appendix A of RFC 7396.
    #[test]
    fn the_vectors_of_the_merge_patch_hold() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let found = merged(Some(&raw(target)), &raw(patch)).unwrap();
            assert_eq!(found.get(), result, "{target} with {patch}");
        }
        let first = merged(None, &raw(r#"{"a":{"b":null},"c":1}"#)).unwrap();
        assert_eq!(first.get(), r#"{"a":{},"c":1}"#);
    }
}
