//! Reads the path, the query and the body of a request, or refuses it and names the field.
//!
//! It ignores no unknown field and corrects nothing.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{Error, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::problem::{Problem, ProblemKind};

/// The longest body, in bytes: the largest message that `explain` accepts with the default
/// `MAX_PAYLOAD_BYTES`, escaped.
pub const MAX_BODY: usize = 128 * 1024;

/// One call of an endpoint.
#[derive(Debug)]
pub(crate) struct Call<P, Q, B> {
    pub path: P,
    pub query: Q,
    pub body: B,
}

/// The path or the query of a call that has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The body of a call that has none.
#[derive(Debug)]
pub(crate) struct NoBody;

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub T);

/// The text of a field, for required and for optional fields.
struct Text<'a>(&'a str);

/// A header of a request or a response, as the document describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderParam {
    pub name: &'static str,
    pub description: &'static str,
}

/// A type of body: how it is read, its schema, and the headers that belong to it.
pub(super) trait Body: Sized + Send {
    const HEADERS: &'static [HeaderParam] = &[];

    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem>;

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

// === impl Body ===

impl Body for NoBody {
    fn read(_: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        match bytes {
            [] => Ok(Self),
            _ => Err(Problem::new(ProblemKind::BadRequest, "this path accepts no body: send none")),
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: DeserializeOwned + JsonSchema + Send> Body for Json<T> {
    fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Problem> {
        if !is_json(headers) {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "send a JSON body with `Content-Type: application/json`",
            ));
        }
        // Serde reads the fields of a struct also from an array: they would have no names.
        if bytes.trim_ascii_start().starts_with(b"[") {
            let detail = "the body is a JSON array: send a JSON object";
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| blame("the body", error))?;
        json.end().map_err(|_| {
            Problem::new(
                ProblemKind::BadRequest,
                "the body continues after its JSON value: send one JSON value",
            )
        })?;
        Ok(Self(value))
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }
}

// === impl Call ===

impl<S, P, Q, B> FromRequest<S> for Call<P, Q, B>
where
    S: Send + Sync,
    P: DeserializeOwned + Send,
    Q: DeserializeOwned + Send,
    B: Body,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let segments = RawPathParams::from_request_parts(&mut parts, state).await;
        let segments = segments
            .map_err(|_| Problem::new(ProblemKind::BadRequest, "the path is not valid UTF-8"))?;
        let path = fields(segments.iter(), "the path")?;
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs
            .map_err(|_| {
                Problem::new(
                    ProblemKind::BadRequest,
                    "the query string is malformed: send `name=value` pairs, percent-encoded",
                )
            })?
            .0;
        let query =
            fields(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), "the query")?;
        let headers = parts.headers.clone();
        let bytes = body_of(Request::from_parts(parts, body)).await?;
        Ok(Self { path, query, body: B::read(&headers, &bytes)? })
    }
}

// === impl Text ===

impl<'de> Deserializer<'de> for Text<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Text<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The whole body of a request.
pub(super) async fn body_of(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(ProblemKind::TooLarge, format!("the body is longer than {MAX_BODY} bytes"))
        }
        _ => Problem::new(
            ProblemKind::BadRequest,
            "the connection ended before the whole body arrived: try again",
        ),
    })
}

// === private helpers ===

/// Deserializes fields that arrive as text.
fn fields<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    place: &str,
) -> Result<T, Problem> {
    let fields = MapDeserializer::new(pairs.map(|(name, value)| (name, Text(value))));
    serde_path_to_error::deserialize(fields).map_err(|error| blame(place, error))
}

fn blame<E: std::fmt::Display>(place: &str, error: serde_path_to_error::Error<E>) -> Problem {
    let field = error.path().to_string();
    let why = error.into_inner().to_string();
    if field == "." {
        Problem::new(ProblemKind::BadRequest, format!("{place}: {why}"))
    } else {
        Problem::field(field, why)
    }
}

/// Whether the body is declared as JSON or as a JSON merge patch.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        || kind.eq_ignore_ascii_case("application/merge-patch+json")
}
