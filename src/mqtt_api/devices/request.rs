//! The payload of a request: its identifier, the device's token, and the parameters.
//!
//! It also finds the identifier in a payload that is no valid request, so that the device can tell
//! which request was refused.

use serde_json::{Map, Value};

use crate::domain::exchange::RequestMessage;
use crate::domain::token::TokenHash;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::ingest::parse::parsed::TokenField;

/// The longest payload, in bytes.
pub(super) const MAX_REQUEST: usize = 16 * 1024;

/// The longest identifier that is a text, in bytes.
const MAX_ID: usize = 64;

/// The field of the identifier.
const ID: &str = "id";

/// The field of the token.
const TOKEN: &str = "provision_token";

/// A readable payload.
#[derive(Debug)]
pub(super) struct DeviceRequest {
    /// What the response repeats.
    pub id: Option<RequestId>,
    /// The token; its text is not kept.
    pub token: TokenField,
    /// All other fields.
    pub params: Map<String, Value>,
}

/// A payload that is no request.
#[derive(Debug)]
pub(super) struct Unread {
    pub id: Option<RequestId>,
    pub problem: Problem,
}

/// A string of at most 64 bytes, or an integer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(super) struct RequestId(Value);

// === impl DeviceRequest ===

impl DeviceRequest {
    /// Reads a payload; an empty one has no parameters.
    pub(super) fn read(request: &RequestMessage) -> Result<Self, Unread> {
        let payload = &request.payload;
        let size = request.cut_from.unwrap_or(payload.len());
        if size > MAX_REQUEST || request.cut_from.is_some() {
            let detail =
                format!("the payload has {size} bytes; a request has at most {MAX_REQUEST}");
            return Err(Unread::recovering(payload, ProblemKind::TooLarge, detail));
        }
        let mut params: Map<String, Value> = if payload.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(payload).map_err(|error| {
                // The error names the position, and quotes nothing of the payload.
                let detail = format!("the payload is not a JSON object: {error}");
                Unread::recovering(payload, ProblemKind::BadRequest, detail)
            })?
        };
        let id = match params.remove(ID) {
            None | Some(Value::Null) => None,
            Some(value) => Some(RequestId::new(value).ok_or_else(|| Unread {
                id: None,
                problem: Problem::field(ID, "send a string of at most 64 bytes, or an integer"),
            })?),
        };
        let token = match params.remove(TOKEN) {
            None | Some(Value::Null) => TokenField::Absent,
            // An empty token proves nothing.
            Some(Value::String(token)) if token.is_empty() => TokenField::Absent,
            Some(Value::String(token)) => TokenField::Hashed(TokenHash::of(token)),
            Some(_) => {
                let problem = Problem::field(TOKEN, "send a string");
                return Err(Unread { id, problem });
            }
        };
        Ok(Self { id, token, params })
    }
}

// === impl Unread ===

impl Unread {
    fn recovering(payload: &[u8], kind: ProblemKind, detail: String) -> Self {
        Self { id: recover_id(payload), problem: Problem::new(kind, detail) }
    }
}

// === impl RequestId ===

impl RequestId {
    fn new(value: Value) -> Option<Self> {
        let is_id = match &value {
            Value::String(text) => text.len() <= MAX_ID,
            Value::Number(number) => number.is_i64() || number.is_u64(),
            _ => false,
        };
        is_id.then_some(Self(value))
    }
}

/// The identifier in a payload that may be broken: the value behind the first `"id":`.
pub(super) fn recover_id(payload: &[u8]) -> Option<RequestId> {
    const KEY: &[u8] = b"\"id\"";
    let begin = memchr::memmem::find(payload, KEY)? + KEY.len();
    let value = payload[begin..].trim_ascii_start().strip_prefix(b":")?;
    let mut values = serde_json::Deserializer::from_slice(value).into_iter::<Value>();
    RequestId::new(values.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::message::ConnectionId;
    use crate::domain::time::Timestamp;
    use serde_json::json;

    fn read(payload: &str) -> Result<DeviceRequest, Unread> {
        DeviceRequest::read(&message(payload.as_bytes()))
    }

    fn message(payload: &[u8]) -> RequestMessage {
        RequestMessage {
            topic: "tenant/t/device/d/request/time".into(),
            payload: payload.to_vec().into(),
            cut_from: None,
            is_retained: false,
            expires_in: None,
            response_topic: None,
            correlation: None,
            properties: Bytes::new(),
            received_at: Timestamp::default(),
            connection: ConnectionId(1),
        }
    }

    #[test]
    fn identifier_and_token_are_cut_out_and_an_empty_payload_has_no_parameters() {
        let request = read(r#"{"id":7,"provision_token":"secret","t0":1.5}"#).unwrap();
        assert_eq!(request.id, Some(RequestId(json!(7))));
        assert!(request.token == TokenField::Hashed(TokenHash::of("secret")));
        assert_eq!(Value::Object(request.params), json!({ "t0": 1.5 }));
        let empty = read("").unwrap();
        assert!(empty.id.is_none() && empty.params.is_empty());
        assert!(read(r#"{"provision_token":""}"#).unwrap().token == TokenField::Absent);
    }

    #[test]
    fn an_identifier_is_a_short_string_or_an_integer() {
        let text = "x".repeat(64);
        assert_eq!(
            read(&format!(r#"{{"id":"{text}"}}"#)).unwrap().id,
            Some(RequestId(text.into()))
        );
        for wrong in [format!("\"{}\"", "x".repeat(65)), "1.5".into(), "[]".into(), "true".into()] {
            let unread = read(&format!(r#"{{"id":{wrong}}}"#)).unwrap_err();
            assert_eq!(unread.problem.kind, ProblemKind::BadRequest, "{wrong}");
            assert_eq!(unread.id, None);
        }
    }

    #[test]
    fn the_identifier_of_an_invalid_payload_is_recovered() {
        for payload in [
            r#"{"id":"x","t0":nope}"#,
            r#"{"t0":nope,"id" : "x"}"#,
            r#"{"id":"x""#,
            r#"["id",{"id":"x"}"#,
            "{\"a\":\"\u{1}\",\"id\":\"x\"}",
        ] {
            let unread = read(payload).unwrap_err();
            assert_eq!(unread.problem.kind, ProblemKind::BadRequest, "{payload}");
            let expected = (!payload.starts_with('[')).then(|| RequestId("x".into()));
            assert_eq!(unread.id, expected, "{payload}");
        }
        for payload in ["not JSON", "[]", "1", "\"id\"", r#"{"id""#, r#"{"id":"#, r#"{"id":"x"#] {
            assert_eq!(read(payload).unwrap_err().id, None, "{payload}");
        }
        assert_eq!(recover_id(b"\xff{\"id\":5,"), Some(RequestId(json!(5))));
    }

    #[test]
    fn a_payload_over_the_limit_is_too_large_also_if_only_its_head_was_kept() {
        let long = format!(r#"{{"id":"x","a":"{}"}}"#, "a".repeat(MAX_REQUEST));
        let unread = read(&long).unwrap_err();
        assert_eq!(
            (unread.problem.kind, unread.id),
            (ProblemKind::TooLarge, Some(RequestId("x".into())))
        );
        let cut = RequestMessage { cut_from: Some(1 << 20), ..message(br#"{"id":"x","a":"#) };
        assert_eq!(DeviceRequest::read(&cut).unwrap_err().id, Some(RequestId("x".into())));
    }
}
