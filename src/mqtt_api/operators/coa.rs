//! The envelope of requests and responses: COA, the JSON of Symphony's MQTT binding.
//!
//! It reads what Symphony's clients send, byte for byte, and writes what they read. Beyond that it
//! accepts a JSON body without base64. It decides nothing about a route.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use memchr::memmem;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::base64_text;
use crate::http::ApiReply;

/// The metadata that names a request; its response repeats it.
const REQUEST_ID: &str = "request-id";

/// Longest request id, in bytes.
const MAX_REQUEST_ID: usize = 256;

/// The type of a body that names none.
const JSON_TYPE: &str = "application/json";

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CoaRequest {
    /// In upper case; GET if the envelope names none.
    pub method: String,
    pub route: String,
    pub content_type: String,
    pub body: Bytes,
    pub metadata: BTreeMap<String, String>,
    pub parameters: BTreeMap<String, String>,
}

/// Why an envelope cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CoaFault {
    pub why: String,
    /// The name of the request, if it can be recovered.
    pub request_id: Option<String>,
}

/// The fields of an object in their order, repeated ones too.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

struct FieldsVisitor;

#[derive(Serialize)]
struct CoaResponse<'a> {
    #[serde(rename = "contentType")]
    content_type: &'a str,
    body: Option<String>,
    state: u16,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
}

/// Reads a request.
pub(super) fn read(payload: &[u8]) -> Result<CoaRequest, CoaFault> {
    parse(payload).map_err(|why| CoaFault { why, request_id: recover_request_id(payload) })
}

/// Writes a response: contentType, body, state, metadata.
pub(super) fn write(reply: &ApiReply, request_id: Option<&str>) -> Vec<u8> {
    let mut metadata: BTreeMap<&str, &str> =
        reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if let Some(id) = request_id {
        metadata.insert(REQUEST_ID, id);
    }
    let response = CoaResponse {
        content_type: &reply.content_type,
        body: (!reply.body.is_empty()).then(|| base64_text::encode(&reply.body)),
        state: reply.status,
        metadata,
    };
    // Strings and a number: serialization does not fail.
    serde_json::to_vec(&response).unwrap_or_default()
}

/// Finds the name of a request in an envelope that cannot be read, or whose end is missing.
pub(super) fn recover_request_id(payload: &[u8]) -> Option<String> {
    let name = format!("\"{REQUEST_ID}\"");
    let from = memmem::find(payload, name.as_bytes())? + name.len();
    let rest = payload.get(from..)?.trim_ascii_start().strip_prefix(b":")?;
    let id = serde_json::Deserializer::from_slice(rest).into_iter::<String>().next()?.ok()?;
    (id.len() <= MAX_REQUEST_ID).then_some(id)
}

// === impl CoaRequest ===

impl CoaRequest {
    /// The name of the request.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.metadata(REQUEST_ID)
    }

    /// A value of the metadata, whatever the case of its name.
    pub(super) fn metadata(&self, name: &str) -> Option<&str> {
        let exact = self.metadata.get(name);
        let any = || self.metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        exact.or_else(|| any().map(|(_, value)| value)).map(String::as_str)
    }
}

// === impl Fields ===

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with route and method")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

// === private helpers ===

fn parse(payload: &[u8]) -> Result<CoaRequest, String> {
    let Fields(fields) = serde_json::from_slice(payload)
        .map_err(|error| format!("the request is no JSON object: {error}"))?;
    let mut request = CoaRequest::default();
    // As in Go, names of fields match in any case, and the last of equal names counts.
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "method" => request.method = text("method", value)?.to_ascii_uppercase(),
            "route" => request.route = text("route", value)?,
            "contenttype" => request.content_type = text("contentType", value)?,
            "body" => request.body = body(value)?,
            "metadata" => request.metadata = texts("metadata", value)?,
            "parameters" => request.parameters = texts("parameters", value)?,
            _ => {}
        }
    }
    if request.route.is_empty() {
        return Err("route is missing: name a route such as greetings".to_owned());
    }
    if request.request_id().is_some_and(|id| id.len() > MAX_REQUEST_ID) {
        return Err(format!("metadata.request-id has more than {MAX_REQUEST_ID} bytes"));
    }
    if request.method.is_empty() {
        "GET".clone_into(&mut request.method);
    }
    if request.content_type.is_empty() {
        JSON_TYPE.clone_into(&mut request.content_type);
    }
    Ok(request)
}

fn text(name: &str, value: &RawValue) -> Result<String, String> {
    let text: Option<String> =
        serde_json::from_str(value.get()).map_err(|_| format!("{name} is no string"))?;
    Ok(text.unwrap_or_default())
}

fn texts(name: &str, value: &RawValue) -> Result<BTreeMap<String, String>, String> {
    let texts: Option<BTreeMap<String, Option<String>>> = serde_json::from_str(value.get())
        .map_err(|_| format!("{name} is no object whose values are strings"))?;
    let texts = texts.unwrap_or_default().into_iter();
    Ok(texts.map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

/// A string is base64, as Symphony sends it; an object or an array is the body itself.
fn body(value: &RawValue) -> Result<Bytes, String> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'n') => Ok(Bytes::new()),
        Some(b'{' | b'[') => Ok(Bytes::copy_from_slice(json.as_bytes())),
        Some(b'"') => {
            let encoded: String = text("body", value)?.split(['\r', '\n']).collect();
            base64_text::decode(&encoded)
                .map(Bytes::from)
                .ok_or_else(|| "body is no base64: encode it, or send a JSON object".to_owned())
        }
        _ => Err("body is neither base64 nor a JSON object or array".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(payload: &str) -> CoaFault {
        read(payload.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_request_of_symphonys_client_is_read() {
        let request =
            read(br#"{"method":"GET","route":"greetings","contentType":"","body":null}"#).unwrap();
        let expected = CoaRequest {
            method: "GET".into(),
            route: "greetings".into(),
            content_type: "application/json".into(),
            ..CoaRequest::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn names_match_in_any_case_the_last_counts_and_unknown_ones_are_ignored() {
        let request = read(
            br#"{"ROUTE":"a","route":"b","Method":"post","x":{"y":[1]},"Body":"e30=",
                "metadata":{"Request-ID":"7","n":null},"parameters":{"wait":"20"}}"#,
        )
        .unwrap();
        assert_eq!((request.route.as_str(), request.method.as_str()), ("b", "POST"));
        assert_eq!((&request.body[..], request.request_id()), (&b"{}"[..], Some("7")));
        assert_eq!(request.parameters["wait"], "20");
    }

    #[test]
    fn a_body_is_base64_or_json_as_it_stands() {
        let of = |body: &str| read(format!(r#"{{"route":"a","body":{body}}}"#).as_bytes());
        for (body, expected) in [
            ("null", ""),
            ("\"\"", ""),
            ("\"SGk=\"", "Hi"),
            ("\"SG\\nk=\"", "Hi"),
            (r#"{"b": 1.50, "a":[]}"#, r#"{"b": 1.50, "a":[]}"#),
            ("[1, 2]", "[1, 2]"),
        ] {
            assert_eq!(of(body).unwrap().body, expected.as_bytes(), "{body}");
        }
        for body in ["\"%%\"", "5", "true", "\"SGk\""] {
            assert!(of(body).unwrap_err().why.starts_with("body is n"), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_keeps_its_request_id_if_that_can_be_recovered() {
        for (payload, id) in [
            ("", None),
            ("hello", None),
            ("[]", None),
            ("null", None),
            (r#"{"method":"GET"}"#, None),
            (r#"{"route":5}"#, None),
            (r#"{"route":"a","metadata":{"a":1}}"#, None),
            (r#"{"route":"a","metadata":{"a":1,"request-id":"7"}}"#, Some("7")),
            (r#"{"route":"a","metadata":{"request-id" : "a\"b","#, Some("a\"b")),
            (r#"{"route":"a","metadata":{"request-id":"unfinished"#, None),
            (r#"{"route":"a"} {"metadata":{"request-id":"9"}}"#, Some("9")),
            (r#"{"route":"a","parameters":{"request-id":5}}"#, None),
        ] {
            assert_eq!(fault(payload).request_id.as_deref(), id, "{payload}");
        }
        let long = format!(r#"{{"route":"a","metadata":{{"request-id":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(fault(&long).request_id, None);
    }

    #[test]
    fn a_response_has_the_bytes_that_symphony_writes() {
        let reply = |body: &'static str, headers| ApiReply {
            status: 200,
            content_type: "text/plain".into(),
            headers,
            body: body.into(),
            route: None,
        };
        let text = |reply, id| String::from_utf8(write(&reply, id)).unwrap();
        assert_eq!(
            text(reply("Hi", vec![]), Some("1")),
            r#"{"contentType":"text/plain","body":"SGk=","state":200,"metadata":{"request-id":"1"}}"#
        );
        assert_eq!(
            text(reply("", vec![("retry-after", "2".into())]), None),
            r#"{"contentType":"text/plain","body":null,"state":200,"metadata":{"retry-after":"2"}}"#
        );
        assert_eq!(
            text(reply("Hi", vec![]), None),
            r#"{"contentType":"text/plain","body":"SGk=","state":200}"#
        );
    }
}
