//! `/console/login/provider` and `/console/login/return`: signs a person in by the identity provider
//! of the settings.
//!
//! The first page leads to the provider; the provider leads to the second one, with a code.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::answers::{HOME, page, refuse};
use crate::console::notice::Redirected;
use crate::console::state::ConsoleState;
use crate::console::visit::Surroundings;
use crate::http::SignInError;

/// `GET /console/login/provider`.
pub(super) async fn begin(
    State(console): State<ConsoleState>,
    around: Surroundings,
    parts: Parts,
) -> Response {
    match console.api.sessions().begin_at_provider(&parts).await {
        Ok((target, cookie)) => ([(SET_COOKIE, cookie)], Redirected::to(target)).into_response(),
        Err(error) => failed(&console, &around, &error),
    }
}

/// `GET /console/login/return`.
pub(super) async fn finish(
    State(console): State<ConsoleState>,
    around: Surroundings,
    parts: Parts,
) -> Response {
    let value = |name: &str| around.query.get(name).unwrap_or_default();
    if !value("error").is_empty() {
        let error = SignInError::Provider("the identity provider refused the login".to_owned());
        return failed(&console, &around, &error);
    }
    let opened = console
        .api
        .sessions()
        .sign_in_by_code_of_provider(&parts, value("state"), value("code"))
        .await;
    match opened {
        Ok(cookies) => {
            let cookies: [(HeaderName, HeaderValue); 2] =
                cookies.map(|cookie| (SET_COOKIE, cookie));
            (AppendHeaders(cookies), Redirected::to(HOME)).into_response()
        }
        Err(error) => failed(&console, &around, &error),
    }
}

fn failed(console: &ConsoleState, around: &Surroundings, error: &SignInError) -> Response {
    refuse(error, "The console has no identity provider.", |status, text| {
        page(console, status, around, HOME, text)
    })
}
