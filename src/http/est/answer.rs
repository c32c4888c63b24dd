//! What EST clients get: certificates in an envelope, or one sentence of plain text.
//!
//! It contains no secret: a sentence never quotes a code or a header.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::message::Base64Form;
use crate::http::listener::limits::Unproven;
use crate::pki::certificate::Certificate;
use crate::pki::pkcs7;

/// Old clients require it, and new ones ignore it (RFC 8951).
const TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");

/// Seconds after which a client may try again while Sluice cannot answer.
const RETRY_SECONDS: u64 = 5;

/// What a request for certificates gets.
pub(super) type Answer = Result<CertsOnly, EstRefusal>;

/// Certificates in an envelope.
pub(super) struct CertsOnly {
    content_type: &'static str,
    envelope: Vec<u8>,
    form: Base64Form,
}

/// No certificate: the status, and one sentence.
#[derive(Debug)]
pub(super) struct EstRefusal {
    status: StatusCode,
    detail: String,
    retry_after: Option<u64>,
}

/// `GET /csrattrs`: a request needs no attribute.
pub(super) async fn no_attributes() -> StatusCode {
    StatusCode::NO_CONTENT
}

// === impl CertsOnly ===

impl CertsOnly {
    /// The chain of the authority.
    pub(super) fn of_authority(chain: &[Certificate]) -> Self {
        Self {
            content_type: "application/pkcs7-mime",
            envelope: pkcs7::certs_only(chain),
            form: Base64Form::Lines,
        }
    }

    /// The certificate of a device.
    pub(super) fn issued(certificate: Certificate) -> Self {
        Self {
            content_type: "application/pkcs7-mime; smime-type=certs-only",
            envelope: pkcs7::certs_only(&[certificate]),
            form: Base64Form::Lines,
        }
    }

    /// In the form that the client of a request reads.
    pub(super) fn for_client(self, headers: &HeaderMap) -> Self {
        Self { form: Base64Form::of(headers), ..self }
    }
}

impl IntoResponse for CertsOnly {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (TRANSFER_ENCODING, HeaderValue::from_static("base64")),
        ];
        (StatusCode::OK, headers, self.form.encode(&self.envelope)).into_response()
    }
}

// === impl EstRefusal ===

impl EstRefusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    /// The one answer to every fault of the credentials.
    pub(super) fn unauthorized() -> Self {
        let detail = "send the user name <tenant>/device/<device> and a valid enrolment code";
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "cacerts and csrattrs need GET, simpleenroll and simplereenroll need POST",
        )
    }

    pub(super) fn too_many(seconds: u64) -> Self {
        Self::too_often(format!("too many requests with a wrong code: wait {seconds} s"), seconds)
    }

    pub(super) fn too_often(detail: String, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let retry_after = Some(RETRY_SECONDS);
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl IntoResponse for EstRefusal {
    fn into_response(self) -> Response {
        let text = format!("{}\n", self.detail);
        let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (self.status, kind, text).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"est\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status.is_client_error() {
            response.extensions_mut().insert(Unproven);
        }
        response
    }
}
