//! `/console/login` and `/console/logout`: signs a person in by a token, and out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answers::{page, refuse, signed_in};
use crate::console::form::PageForm;
use crate::console::guard::unavailable;
use crate::console::notice::Redirected;
use crate::console::state::ConsoleState;
use crate::console::visit::{LOGIN, Surroundings, Visit};

/// The form of the login page.
#[derive(Deserialize)]
pub(crate) struct TokenForm {
    token: String,
    #[serde(default)]
    next: String,
}

/// `POST /console/logout`.
pub(crate) async fn sign_out(
    State(console): State<ConsoleState>,
    visit: Visit,
    parts: Parts,
) -> Response {
    match console.api.sessions().sign_out(&parts, &visit.person).await {
        Ok(cookie) => ([(SET_COOKIE, cookie)], Redirected::to(LOGIN)).into_response(),
        Err(outage) => unavailable(outage.to_string()).into_response(),
    }
}

pub(super) async fn show(State(console): State<ConsoleState>, around: Surroundings) -> Response {
    let next = around.query.get("next").unwrap_or_default().to_owned();
    page(&console, StatusCode::OK, &around, &next, String::new())
}

pub(super) async fn sign_in(
    State(console): State<ConsoleState>,
    around: Surroundings,
    parts: Parts,
    PageForm(form): PageForm<TokenForm>,
) -> Response {
    match console.api.sessions().sign_in_by_token(&parts, &form.token).await {
        Ok(cookie) => signed_in(cookie, &form.next),
        Err(error) => refuse(&error, "The token is wrong.", |status, text| {
            page(&console, status, &around, &form.next, text)
        }),
    }
}
