//! Errors as problem documents (RFC 9457): what failed, which field, and what to do.
//!
//! It contains no secret: a detail never quotes a header or a body.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::ports::Outage;
use crate::registry::revocation::progress::RevocationSteps;

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The kinds of problems; each has its own `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    BadRequest,
    Unauthorized,
    Forbidden,
    NoSuchPath,
    NotFound,
    MethodNotAllowed,
    Conflict,
    Refused,
    TooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    Internal,
    Unavailable,
    NotSetUp,
    TimedOut,
    NotProven,
}

/// One problem.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub kind: ProblemKind,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub revocation: Option<Box<RevocationSteps>>,
}

/// What is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// The field's path, such as `metadata.model`.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A problem document, as RFC 9457 describes it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    /// What kind of problem it is; programs decide by this.
    r#type: String,
    /// The kind in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What happened to this request, and what to do.
    detail: String,
    /// The fields to blame, where fields are to blame.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    errors: Vec<FieldError>,
    /// How far the chain came, where a revocation is not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<Box<RevocationSteps>>,
}

// === impl ProblemKind ===

impl ProblemKind {
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => {
                (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood")
            }
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "The admin token is missing or wrong")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not from here"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "There is no such path"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "It is not there"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path does not take this method",
            ),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "It contradicts what is there"),
            Self::Refused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refused", "It is understood, and not accepted")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body is not JSON",
            ),
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Not so often")
            }
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the program")
            }
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Something it needs is not there")
            }
            Self::NotSetUp => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-set-up", "What it needs is not set up here")
            }
            Self::NotProven => (
                StatusCode::GATEWAY_TIMEOUT,
                "not-proven",
                "It is revoked, and a link of the chain has not held",
            ),
            Self::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "timed-out", "It took too long"),
        }
    }
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), revocation: None }
    }

    /// A problem of one field that cannot be read.
    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::blame(ProblemKind::BadRequest, field, detail)
    }

    /// A problem of one field that is readable and not accepted.
    pub(super) fn refused(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::blame(ProblemKind::Refused, field, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }

    fn blame(kind: ProblemKind, field: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { field: field.into(), detail: detail.into() };
        Self {
            errors: vec![error.clone()],
            ..Self::new(kind, format!("{}: {}", error.field, error.detail))
        }
    }
}

impl From<Outage> for Problem {
    fn from(outage: Outage) -> Self {
        Self::new(ProblemKind::Unavailable, outage.0)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.kind.row();
        let r#type = format!("urn:sluice:problem:{slug}");
        let Self { detail, errors, revocation, .. } = self;
        let document =
            Document { r#type, title, status: status.as_u16(), detail, errors, revocation };
        // The document holds only strings, numbers and times, so serialization does not fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let header = match self.kind {
            ProblemKind::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer")),
            ProblemKind::Unavailable | ProblemKind::TimedOut => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
