//! Lets only people with a session reach a page, and only changes of their own pages.
//!
//! A change repeats the token of the session, in the field `csrf` of its form or in the header
//! `X-CSRF-Token`. It decides nothing about roles: the routes of the API do.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::form::{FormFields, read_form};
use super::page::PageError;
use super::state::ConsoleState;
use super::visit::Surroundings;
use crate::http::{CSRF_HEADER, SignedIn, check_own_page};

/// The header that makes htmx load another page in the place of the whole page.
const HTMX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// The field of a form that repeats the token of the session.
const CSRF_FIELD: &str = "csrf";

/// Passes a request of a person on, with the person in its extensions.
pub(super) async fn require_person(
    State(console): State<ConsoleState>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let person = match console.api.sessions().person(&parts).await {
        Ok(Some(person)) => person,
        Ok(None) => return to_login(&parts),
        // Without Postgres a page still shows the broker's side, and changes nothing.
        Err(outage) => match console.api.sessions().recent_person(&parts) {
            Some(person) if parts.method.is_safe() => person,
            _ => return unavailable(outage.to_string()).into_response(),
        },
    };
    let mut response = match check_change(&parts, body, &person).await {
        Ok(body) => {
            parts.extensions.insert(person.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    if let Some(cookie) = &person.new_cookie {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    // The page of an error shows who is signed in.
    response.extensions_mut().insert(person);
    response
}

/// The page that says that Postgres does not answer.
pub(super) fn unavailable(why: String) -> PageError {
    PageError::new(StatusCode::SERVICE_UNAVAILABLE, "Postgres does not answer", why)
}

// === private helpers ===

/// The login page, which leads back to the page.
fn to_login(parts: &Parts) -> Response {
    let around = Surroundings::of(&parts.method, &parts.uri, &parts.headers);
    if around.is_partial {
        let target = around.to_login().into_target();
        return (StatusCode::UNAUTHORIZED, [(HTMX_REDIRECT, target)]).into_response();
    }
    around.to_login().into_response()
}

/// Returns the body of a request that reads, or of a change that a page of this session sends.
async fn check_change(parts: &Parts, body: Body, person: &SignedIn) -> Result<Body, PageError> {
    if parts.method.is_safe() {
        return Ok(body);
    }
    check_own_page(&parts.headers).map_err(|problem| refused(problem.detail))?;
    let body = read_form(body).await?;
    let in_header = parts.headers.get(&CSRF_HEADER).map(|token| token.as_bytes().to_vec());
    let token = in_header.or_else(|| field(&body));
    if token.is_some_and(|token| person.has_token(&token)) {
        return Ok(body.into());
    }
    Err(refused(
        "the form belongs to another session: load the page again, and repeat what you did",
    ))
}

fn refused(why: impl Into<String>) -> PageError {
    PageError::new(StatusCode::FORBIDDEN, "Refused", why)
}

fn field(body: &Bytes) -> Option<Vec<u8>> {
    let fields: FormFields = serde_urlencoded::from_bytes(body).ok()?;
    fields.get(CSRF_FIELD).map(|value| value.as_bytes().to_vec())
}
