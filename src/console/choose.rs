//! `POST /console/preferences`: theme, time zone and single keys of this browser.
//!
//! It changes nothing at the server.

use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::form::PageForm;
use super::notice::Redirected;
use super::preferences::Preferences;
use super::visit::Visit;

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(crate) struct PreferenceChoice {
    name: String,
    value: String,
    /// The page to return to.
    back: String,
}

pub(crate) async fn save(_: Visit, PageForm(choice): PageForm<PreferenceChoice>) -> Response {
    let is_own = choice.back == "/console" || choice.back.starts_with("/console/");
    let is_own = is_own || choice.back.starts_with("/console?");
    let back = if is_own { choice.back.as_str() } else { "/console" };
    let mut response = Redirected::to(back).into_response();
    let cookie = Preferences::set_cookie(&choice.name, &choice.value);
    if let Some(cookie) = cookie.and_then(|cookie| cookie.parse().ok()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
