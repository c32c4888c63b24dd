//! Parses the body of a broker's request: JSON or a form, `null` or empty, whatever the method.
//!
//! It decides nothing; an unreadable body becomes the reason of a denial.

use std::borrow::Cow;

use serde::Deserialize;

/// The known fields of a request; it ignores others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct HookQuestion<'a> {
    #[serde(borrow, default)]
    pub username: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub password: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub clientid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub topic: Option<Cow<'a, str>>,
    #[serde(default)]
    pub acc: Option<Acc>,
}

/// A number in JSON, digits in a form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Acc {
    Number(u64),
    Digits(Box<str>),
}

/// Why a body is unreadable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QuestionError {
    #[error(
        "the body is not a JSON object with strings and a number acc (line {line}, column {column})"
    )]
    Json { line: usize, column: usize },
    #[error("the body is not a form in UTF-8")]
    Form,
}

// === impl HookQuestion ===

impl<'a> HookQuestion<'a> {
    /// Parses a body by its content type; without one, by its first byte.
    pub(super) fn read(content_type: Option<&str>, body: &'a [u8]) -> Result<Self, QuestionError> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        let declares = |kind: &str| {
            content_type.is_some_and(|given| given.to_ascii_lowercase().contains(kind))
        };
        let is_json =
            declares("json") || !declares("form") && (body.starts_with(b"{") || body == b"null");
        if is_json {
            // serde would read a list as the fields in their order.
            if body.starts_with(b"[") {
                return Err(QuestionError::Json { line: 1, column: 1 });
            }
            let read: Option<Self> = serde_json::from_slice(body).map_err(|error| {
                QuestionError::Json { line: error.line(), column: error.column() }
            })?;
            return Ok(read.unwrap_or_default());
        }
        serde_urlencoded::from_bytes(body).map_err(|_| QuestionError::Form)
    }

    /// The requested access as a bit mask; 0 if it is missing or unreadable.
    pub(super) fn acc(&self) -> u8 {
        match &self.acc {
            Some(Acc::Number(number)) => u8::try_from(*number).unwrap_or(0),
            Some(Acc::Digits(digits)) => digits.parse().unwrap_or(0),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json");
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    #[test]
    fn both_encodings_say_the_same() {
        let json =
            br#"{"acc":2,"clientid":"cid2","topic":"a/x y/b","username":"p w\u0026d\"\u003c"}"#;
        let form = b"acc=2&clientid=cid2&topic=a%2Fx+y%2Fb&username=p+w%26d%22%3C";
        for (kind, body) in [(JSON, &json[..]), (None, json), (FORM, form), (None, form)] {
            let question = HookQuestion::read(kind, body).unwrap();
            let texts = [&question.username, &question.clientid, &question.topic]
                .map(|text| text.as_deref().unwrap());
            assert_eq!(texts, ["p w&d\"<", "cid2", "a/x y/b"], "{kind:?}");
            assert_eq!(question.acc(), 2);
        }
    }

    #[test]
    fn nothing_and_null_are_questions_without_words() {
        for (kind, body) in
            [(JSON, "null"), (JSON, ""), (FORM, ""), (None, " null\n"), (None, ""), (JSON, "{}")]
        {
            assert_eq!(
                HookQuestion::read(kind, body.as_bytes()),
                Ok(HookQuestion::default()),
                "{kind:?} {body:?}"
            );
        }
    }

    #[test]
    fn what_is_neither_is_refused_and_an_odd_acc_asks_for_nothing() {
        for body in ["{", "[]", "7", r#"{"username":7}"#, r#"{"acc":[1]}"#] {
            assert!(
                matches!(
                    HookQuestion::read(JSON, body.as_bytes()),
                    Err(QuestionError::Json { .. })
                ),
                "{body}"
            );
        }
        assert_eq!(
            HookQuestion::read(FORM, b"username=%FF%FE")
                .map(|question| question.username.is_some()),
            Ok(true)
        );
        for acc in ["-1", "256", "\"x\"", "\"\"", "null", "18446744073709551615"] {
            let body = format!(r#"{{"acc":{acc}}}"#);
            assert_eq!(
                HookQuestion::read(JSON, body.as_bytes()).map_or(0, |question| question.acc()),
                0,
                "{acc}"
            );
        }
    }
}
