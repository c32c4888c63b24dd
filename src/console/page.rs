//! A page as the answer of a handler, and a page that says why there is none.
//!
//! A handler returns `Result<WebPage<T>, PageError>`; a fault of the API becomes a whole page with its
//! cause, the next step and the right status.

use askama::Template;
use axum::extract::Request;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

use super::filters;
use super::frame::{Frame, NavPage};
use super::notice::{CLEARING, COOKIE_NAME};
use super::preferences::cookie;
use super::visit::Surroundings;
use crate::http::{ApiFault, SignedIn};

/// A page, or a part of one.
#[derive(Debug)]
pub(crate) struct WebPage<T>(pub T);

/// Why there is no page. [`frame_errors`] makes a whole page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageError {
    pub status: StatusCode,
    /// The headline: what happened.
    pub title: String,
    /// To what, and why.
    pub detail: String,
    /// What to do, as links: label and address.
    pub next: Vec<(String, String)>,
}

/// The page of an error.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    error: PageError,
}

/// The same for htmx, which puts it at the place of the part.
#[derive(Template)]
#[template(path = "parts/error.html")]
struct ErrorPart {
    error: PageError,
}

/// Answers every [`PageError`] of a handler with a page, and removes a notice that was shown.
pub(crate) async fn frame_errors(request: Request, next: Next) -> Response {
    let around = Surroundings::of(request.method(), request.uri(), request.headers());
    let has_notice = cookie(request.headers(), COOKIE_NAME).is_some_and(|text| !text.is_empty());
    let is_safe = request.method().is_safe();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<PageError>() {
        let (status, headers) = (error.status, std::mem::take(response.headers_mut()));
        let body = if around.is_partial {
            WebPage(ErrorPart { error }).into_response()
        } else {
            let person = response.extensions_mut().remove::<SignedIn>();
            let frame = around.frame(error.title.clone(), NavPage::Elsewhere, person);
            WebPage(ErrorPage { frame, error }).into_response()
        };
        response = (status, body).into_response();
        for name in [RETRY_AFTER, SET_COOKIE] {
            for value in headers.get_all(&name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
    }
    if has_notice && is_safe && !around.is_partial && !response.headers().contains_key(SET_COOKIE) {
        response.headers_mut().append(SET_COOKIE, HeaderValue::from_static(CLEARING));
    }
    response
}

// === impl WebPage ===

impl<T: Template> IntoResponse for WebPage<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => {
                tracing::error!(%error, "rendering a page failed; the browser gets status 500");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

// === impl PageError ===

impl PageError {
    /// Nothing has this address.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    /// The request cannot be understood.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid request", detail)
    }

    /// Any other.
    pub(crate) fn new(
        status: StatusCode,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, title: title.into(), detail: detail.into(), next: Vec::new() }
    }

    /// With a link to what helps.
    #[must_use]
    pub(crate) fn or(mut self, label: impl Into<String>, href: impl Into<String>) -> Self {
        self.next.push((label.into(), href.into()));
        self
    }

    /// The headline and the next step for a status.
    fn advice(status: StatusCode) -> (&'static str, &'static str) {
        match status {
            StatusCode::UNAUTHORIZED => ("Your session has ended", "Sign in again."),
            StatusCode::FORBIDDEN => (
                "Your role does not permit this",
                "An admin can change it: sluice operator set-role NAME --role ROLE.",
            ),
            StatusCode::NOT_FOUND => ("Not found", "It may have been removed: search for it."),
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                ("It has changed meanwhile", "Load the page again, and look at what changed.")
            }
            StatusCode::SERVICE_UNAVAILABLE => (
                "Postgres does not answer",
                "Devices lose nothing: Mosquitto keeps their messages until Postgres is back. \
                 The overview shows the broker's side.",
            ),
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => {
                ("It took too long", "Narrow the filter, or try again.")
            }
            status if status.is_client_error() => ("Invalid request", ""),
            _ => ("Sluice failed", "The log of the daemon has the cause."),
        }
    }

    /// What to do, for the page.
    pub(crate) fn step(&self) -> &'static str {
        Self::advice(self.status).1
    }
}

impl From<ApiFault> for PageError {
    fn from(fault: ApiFault) -> Self {
        let status =
            StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut detail = fault.detail;
        for error in fault.errors {
            detail.push_str("; ");
            detail.push_str(&error.field);
            detail.push_str(": ");
            detail.push_str(&error.detail);
        }
        let error = Self::new(status, Self::advice(status).0, detail);
        match status {
            StatusCode::UNAUTHORIZED => error.or("Sign in", super::visit::LOGIN),
            StatusCode::SERVICE_UNAVAILABLE => error.or("Overview", "/console"),
            _ => error,
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
