//! Conditional changes: the headers `If-Match` and `If-None-Match` of a request, and the version in
//! the `ETag` of a response.
//!
//! A version is the whole tag. A tag that no version can have is refused, not compared.

use axum::body::Bytes;
use axum::http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::extract::{Body, HeaderParam, is_json};
use super::problem::{Problem, ProblemKind};
use super::route::{Answer, OkJson};
use crate::downlink::shadow::Precondition;

/// The headers of a conditional change.
const HEADERS: &[HeaderParam] = &[
    HeaderParam {
        name: "If-Match",
        description: "Change only this version: `\"18\"`, the `ETag` of an earlier response. `*`: only an existing document. \
            Another version is answered with 412.",
    },
    HeaderParam {
        name: "If-None-Match",
        description: "`*`: set a document only if there is none.",
    },
];

/// A body with the condition of its request.
#[derive(Debug)]
pub(crate) struct Conditional<B> {
    pub condition: Precondition,
    pub body: B,
}

/// A JSON object as it was sent, so that its numbers stay exact.
#[derive(Debug)]
pub(crate) struct JsonText(pub Bytes);

/// A JSON response with status 200 and the version of what it shows.
#[derive(Debug)]
pub(crate) struct VersionedJson<T> {
    pub version: i64,
    pub value: T,
}

// === impl Conditional ===

impl<B: Body> Body for Conditional<B> {
    const HEADERS: &'static [HeaderParam] = HEADERS;

    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        Ok(Self { condition: condition(headers)?, body: B::read(headers, bytes)? })
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        B::schema(generator)
    }
}

// === impl JsonText ===

impl Body for JsonText {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        if !is_json(headers) {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "send a JSON body with `Content-Type: application/json`",
            ));
        }
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        Some(json_schema!({ "type": "object" }))
    }
}

// === impl VersionedJson ===

impl<T: Serialize + JsonSchema> Answer for VersionedJson<T> {
    const STATUS: StatusCode = StatusCode::OK;
    const MEDIA_TYPE: &'static str = "application/json";
    const HEADERS: &'static [HeaderParam] = &[HeaderParam {
        name: "ETag",
        description: "The version: `If-Match` of a change names it.",
    }];

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

impl<T: Serialize> IntoResponse for VersionedJson<T> {
    fn into_response(self) -> Response {
        let mut response = OkJson(self.value).into_response();
        if response.status() == StatusCode::OK
            && let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", self.version))
        {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

// === private helpers ===

fn condition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    match (one(headers, &IF_MATCH)?, one(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (Some(tag), None) => {
            let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
            let version = bare.parse().ok().filter(|version: &i64| *version >= 0);
            version.map(Precondition::Version).ok_or_else(|| {
                Problem::field("If-Match", "expected a version such as \"18\", or *")
            })
        }
        (None, Some("*")) => Ok(Precondition::Absent),
        (None, Some(_)) => Err(Problem::field("If-None-Match", "expected *")),
        (Some(_), Some(_)) => Err(Problem::field("If-None-Match", "send it or If-Match, not both")),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::to_str).transpose();
    match (value, values.next()) {
        (Ok(value), None) => Ok(value.map(str::trim)),
        _ => Err(Problem::field(name.as_str(), "expected one value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Precondition, String> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        condition(&headers.collect()).map_err(|problem| problem.errors[0].field.clone())
    }

    #[test]
    fn a_condition_is_a_version_or_whether_there_is_a_document() {
        assert_eq!(read(&[]), Ok(Precondition::None));
        for tag in ["\"18\"", "18", " \"18\" "] {
            assert_eq!(read(&[(IF_MATCH, tag)]), Ok(Precondition::Version(18)), "{tag}");
        }
        assert_eq!(read(&[(IF_MATCH, "*")]), Ok(Precondition::Exists));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]), Ok(Precondition::Absent));
        for tag in ["", "\"a\"", "W/\"18\"", "\"1\", \"2\"", "-1", "\"18", "99999999999999999999"] {
            assert_eq!(read(&[(IF_MATCH, tag)]), Err("If-Match".to_owned()), "{tag}");
        }
        assert_eq!(read(&[(IF_NONE_MATCH, "\"1\"")]), Err("If-None-Match".to_owned()));
        let both = read(&[(IF_NONE_MATCH, "*"), (IF_MATCH, "*")]);
        assert_eq!(both, Err("If-None-Match".to_owned()));
    }
}
