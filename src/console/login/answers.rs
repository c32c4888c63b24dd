//! What the pages of a login share: the page with the form, and the answers to a login.
//!
//! After a login the browser goes to a page of the console, never to another site.

use askama::Template;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::console::filters;
use crate::console::frame::{Frame, NavPage};
use crate::console::notice::Redirected;
use crate::console::page::WebPage;
use crate::console::state::ConsoleState;
use crate::console::visit::{LOGIN, Surroundings};
use crate::http::SignInError;

/// Where a login leads to unless the browser wanted another page.
pub(super) const HOME: &str = "/console";

/// Pages that a login does not lead to.
const AROUND_LOGIN: [&str; 4] = [LOGIN, "/console/link", "/console/logout", "/console/preferences"];

/// The login page.
#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    error: String,
    /// The identity provider, if people can sign in by one.
    provider: Option<String>,
}

/// A page of the console, or the first one: never a page of another site.
fn own_page(next: &str) -> &str {
    let rest = next.strip_prefix(HOME);
    let is_own = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let is_text = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = next.split('?').next().unwrap_or_default();
    if is_own && is_text && !AROUND_LOGIN.contains(&path) { next } else { HOME }
}

pub(super) fn signed_in(cookie: HeaderValue, next: &str) -> Response {
    ([(SET_COOKIE, cookie)], Redirected::to(own_page(next))).into_response()
}

/// The response to a refused login: `page` of a status with a text.
pub(super) fn refuse(
    error: &SignInError,
    wrong: &str,
    page: impl FnOnce(StatusCode, String) -> Response,
) -> Response {
    let status = match error {
        SignInError::Wrong => StatusCode::UNAUTHORIZED,
        SignInError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        SignInError::NeedsHttps | SignInError::WrongHost | SignInError::NoRole(_) => {
            StatusCode::FORBIDDEN
        }
        SignInError::Provider(_) => StatusCode::BAD_GATEWAY,
        SignInError::Outage(_) => StatusCode::SERVICE_UNAVAILABLE,
        SignInError::NoSecret => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = match error {
        SignInError::Wrong => wrong.to_owned(),
        other => other.to_string(),
    };
    let mut response = page(status, text);
    if let SignInError::TooMany(seconds) = error {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

pub(super) fn page(
    console: &ConsoleState,
    status: StatusCode,
    around: &Surroundings,
    next: &str,
    error: String,
) -> Response {
    let provider = console.api.sessions().provider().map(str::to_owned);
    let frame = around.frame("Sign in", NavPage::Elsewhere, None);
    (status, WebPage(LoginPage { frame, next: own_page(next).to_owned(), error, provider }))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_the_console_only() {
        for own in ["/console", "/console/devices?search=tenant:acme&x=%20", "/console?a=b"] {
            assert_eq!(own_page(own), own);
        }
        for foreign in [
            "",
            "//evil.example",
            "https://evil.example/console",
            "/consolex",
            "/\\evil.example",
            "/console/\\evil.example",
            "/console/..\r\nSet-Cookie: a=b",
            "/api/v1/tenants",
            "/console/login",
            "/console/logout?a=b",
            "javascript:alert(1)",
        ] {
            assert_eq!(own_page(foreign), HOME, "{foreign}");
        }
    }
}
