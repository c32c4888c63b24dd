//! JSON objects that Sluice sends to devices: desired documents, patches of them, and the bounds of
//! both.
//!
//! A document keeps the text of its numbers, so that no change of one member rounds another.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::merge_patch;

/// The deepest nesting of a desired document; one without objects in it has depth 1.
pub const MAX_DOCUMENT_DEPTH: usize = 8;

/// A JSON object that Postgres can store.
#[derive(Clone, Debug)]
pub struct JsonDocument(Box<RawValue>);

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is an array or a scalar.
    #[error("expected a JSON object")]
    NotAnObject,
    /// It is nested too deep.
    #[error("nested deeper than {MAX_DOCUMENT_DEPTH} levels")]
    TooDeep,
    /// Postgres stores no NUL.
    #[error("contains a NUL character, which Postgres cannot store")]
    Nul,
    /// It is too large.
    #[error("{bytes} bytes, and SHADOW_MAX_BYTES allows {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
    /// It is too large with the digits of its numbers in full.
    #[error("{bytes} bytes as Postgres stores it, and SHADOW_MAX_BYTES allows {max}")]
    StoredTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
    /// Postgres has no place for one of its values.
    #[error("Postgres cannot store it: {0}")]
    NotStorable(String),
}

// === impl JsonDocument ===

impl JsonDocument {
    /// Reads a document of at most `max` bytes.
    pub fn read(text: &[u8], max: usize) -> Result<Self, DocumentError> {
        if text.len() > max {
            return Err(DocumentError::TooLarge { bytes: text.len(), max });
        }
        let not_json = |error: serde_json::Error| DocumentError::NotJson(error.to_string());
        // Numbers out of range and lone surrogates are errors here, and not only in Postgres.
        let value: Value = serde_json::from_slice(text).map_err(not_json)?;
        if !value.is_object() {
            return Err(DocumentError::NotAnObject);
        }
        if has_nul(&value) {
            return Err(DocumentError::Nul);
        }
        if depth(&value) > MAX_DOCUMENT_DEPTH {
            return Err(DocumentError::TooDeep);
        }
        serde_json::from_slice(text).map(Self).map_err(not_json)
    }

    /// Its text.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// This patch (RFC 7396) applied to `target`, without a bound of its size.
    pub fn applied_to(&self, target: Option<&RawValue>) -> Result<Box<RawValue>, DocumentError> {
        merge_patch::merged(target, &self.0)
            .map_err(|error| DocumentError::NotJson(error.to_string()))
    }
}

// === private helpers ===

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn depth(value: &Value) -> usize {
    let inside = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inside.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_patch_rounds_no_number_it_does_not_name() {
        let target = raw(r#"{"exact":12345678901234567890.123456789,"huge":1e400,"a":1}"#);
        let patch = JsonDocument::read(br#"{"a":2}"#, 100).unwrap();
        assert_eq!(
            patch.applied_to(Some(&target)).unwrap().get(),
            r#"{"a":2,"exact":12345678901234567890.123456789,"huge":1e400}"#
        );
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let nested =
            |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let read = |text: &str| JsonDocument::read(text.as_bytes(), 10_000).map(|_| ());
        assert_eq!(read(&nested(MAX_DOCUMENT_DEPTH)), Ok(()));
        assert_eq!(read(&nested(MAX_DOCUMENT_DEPTH + 1)), Err(DocumentError::TooDeep));
        assert_eq!(read("[]"), Err(DocumentError::NotAnObject));
        assert_eq!(read(r#"{"a":"\u0000"}"#), Err(DocumentError::Nul));
        assert_eq!(read(r#"{"a\u0000":1}"#), Err(DocumentError::Nul));
        for text in ["", "{", "{}{}", r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, &nested(500)] {
            assert!(matches!(read(text), Err(DocumentError::NotJson(_))), "{text}");
        }
        let max = JsonDocument::read(b"{\"a\":1}", 6).unwrap_err();
        assert_eq!(max, DocumentError::TooLarge { bytes: 7, max: 6 });
    }
}
