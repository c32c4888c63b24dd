//! Takes a request apart: the body in time, its type, the tenant of the path.
//!
//! It knows no route.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::answer::EstRefusal;
use super::message::{MAX_BODY, is_pkcs10};
use super::tls_listener::EstPeer;
use crate::domain::ids::{IdError, TenantId};
use crate::pki::request::csr::RequestError;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the body in time, so that a slow sender holds only its own place.
pub(super) async fn read_whole(
    peer: &EstPeer,
    request: Request,
) -> Result<(HeaderMap, Bytes), EstRefusal> {
    let (parts, body) = request.into_parts();
    let read = timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await;
    peer.connection().arrived();
    match read {
        Ok(Ok(body)) => Ok((parts.headers, body)),
        Ok(Err(_)) => Err(EstRefusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a certificate request has at most {MAX_BODY} bytes"),
        )),
        Err(_) => Err(EstRefusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request did not arrive within {} s", BODY_TIMEOUT.as_secs()),
        )),
    }
}

pub(super) fn require_pkcs10(headers: &HeaderMap) -> Result<(), EstRefusal> {
    if is_pkcs10(headers) {
        return Ok(());
    }
    let detail = "send the certificate request with `Content-Type: application/pkcs10`";
    Err(EstRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// The tenant of the path, if it has one.
pub(super) fn tenant_of(path: &RawPathParams) -> Result<Option<TenantId>, IdError> {
    path.iter().find(|(name, _)| *name == "tenant").map(|(_, tenant)| tenant.parse()).transpose()
}

pub(super) fn refused_request(error: &RequestError) -> EstRefusal {
    let status = match error {
        RequestError::OtherName { .. } => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    EstRefusal::new(status, error.to_string())
}
