//! Errors as problem documents (RFC 9457): what failed, which field, and what to do.
//!
//! It contains no secret: a detail never quotes a header or a body.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::http::views::revocation::RevocationView;

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The kinds of problems; each has its own `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    BadRequest,
    Unauthorized,
    ProofMissing,
    Forbidden,
    ProofWrong,
    DeviceRefused,
    NoSuchPath,
    NotFound,
    MethodNotAllowed,
    Conflict,
    OtherVersion,
    Refused,
    TooLarge,
    UnsupportedMediaType,
    Elsewhere,
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
    pub revocation: Option<Box<RevocationView>>,
}

/// What is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// The path of the field, such as `metadata.model`.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A problem document, as RFC 9457 describes it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document {
    /// The kind of the problem, for programs.
    r#type: String,
    /// The kind of the problem, for people.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What happened, and what to do.
    detail: String,
    /// The fields that caused the problem, if fields did.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    errors: Vec<FieldError>,
    /// The steps of the revocation, if one of them is not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<Box<RevocationView>>,
}

/// One kind of problem, as the reference lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemRow {
    /// The HTTP status code.
    pub status: u16,
    /// The `type` of the problem.
    pub r#type: String,
    /// The title.
    pub title: &'static str,
}

/// All kinds of problems, by status.
pub fn problem_rows() -> Vec<ProblemRow> {
    let rows = ProblemKind::ALL.map(|kind| {
        let (status, slug, title) = kind.row();
        ProblemRow { status: status.as_u16(), r#type: urn(slug), title }
    });
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.status);
    rows
}

fn urn(slug: &str) -> String {
    format!("urn:sluice:problem:{slug}")
}

// === impl ProblemKind ===

impl ProblemKind {
    const ALL: [Self; 21] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::ProofMissing,
        Self::Forbidden,
        Self::ProofWrong,
        Self::DeviceRefused,
        Self::NoSuchPath,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::OtherVersion,
        Self::Refused,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Elsewhere,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
        Self::NotSetUp,
        Self::TimedOut,
        Self::NotProven,
    ];

    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as Code;
        match self {
            Self::BadRequest => (Code::BAD_REQUEST, "bad-request", "The request is malformed"),
            Self::Unauthorized => {
                (Code::UNAUTHORIZED, "unauthorized", "The admin token is missing or wrong")
            }
            Self::Forbidden => {
                (Code::FORBIDDEN, "forbidden", "The request is not allowed from this origin")
            }
            Self::ProofMissing => (
                Code::UNAUTHORIZED,
                "proof-missing",
                "The request carries no proof of the device's identity",
            ),
            Self::ProofWrong => {
                (Code::FORBIDDEN, "proof-wrong", "The proof of the device's identity is wrong")
            }
            Self::DeviceRefused => (
                Code::FORBIDDEN,
                "device-refused",
                "Sluice does not answer this request of the device",
            ),
            Self::NoSuchPath => (Code::NOT_FOUND, "no-such-path", "The path does not exist"),
            Self::NotFound => (Code::NOT_FOUND, "not-found", "The resource was not found"),
            Self::MethodNotAllowed => (
                Code::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path does not support this method",
            ),
            Self::Conflict => {
                (Code::CONFLICT, "conflict", "The request conflicts with the current state")
            }
            Self::OtherVersion => {
                (Code::PRECONDITION_FAILED, "version", "The resource has another version")
            }
            Self::Refused => (
                Code::UNPROCESSABLE_ENTITY,
                "refused",
                "The request is readable, but a value is not accepted",
            ),
            Self::TooLarge => (Code::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (Code::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON")
            }
            Self::Elsewhere => {
                (Code::MISDIRECTED_REQUEST, "elsewhere", "Another server answers this request")
            }
            Self::TooManyRequests => {
                (Code::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            }
            Self::Internal => (Code::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => {
                (Code::SERVICE_UNAVAILABLE, "unavailable", "A dependency is unavailable")
            }
            Self::NotSetUp => {
                (Code::SERVICE_UNAVAILABLE, "not-set-up", "The feature is not configured")
            }
            Self::NotProven => (
                Code::GATEWAY_TIMEOUT,
                "not-proven",
                "The certificate is revoked, but a step of the revocation is not done",
            ),
            Self::TimedOut => (Code::GATEWAY_TIMEOUT, "timed-out", "The request took too long"),
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
    pub(crate) fn refused(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::blame(ProblemKind::Refused, field, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }

    /// The problem of an event that does not exist in quarantine.
    pub(crate) fn no_event(id: Uuid) -> Self {
        Self::not_found(format!(
            "there is no event {id} in quarantine; it may have been discarded, or be older than \
             QUARANTINE_RETENTION_DAYS"
        ))
    }

    /// No refused message has this identifier.
    pub(crate) fn no_dead_letter(link: &LinkName, id: i64) -> Self {
        Self::not_found(format!(
            "there is no refused message {id} of link {link}; it may have been retried or discarded"
        ))
    }

    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.kind.row().0.as_u16()
    }

    /// The document, without the headers of HTTP.
    pub(crate) fn document(self) -> Document {
        let (status, slug, title) = self.kind.row();
        let Self { detail, errors, revocation, .. } = self;
        Document { r#type: urn(slug), title, status: status.as_u16(), detail, errors, revocation }
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Conflict, detail)
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
        let is_elsewhere = outage.is_of_a_cell();
        let kind = if is_elsewhere { ProblemKind::Conflict } else { ProblemKind::Unavailable };
        Self::new(kind, outage.0)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, status) = (self.kind, self.kind.row().0);
        // The document holds only strings, numbers and times, so serialization does not fail.
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let header = match kind {
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
