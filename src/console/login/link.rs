//! `/console/link`: signs a person in by the one-time link of `sluice console`.
//!
//! The link shows a button, and the button redeems the code: a program that only follows links, such
//! as the preview of a chat, does not use it up.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answers::{HOME, refuse, signed_in};
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage};
use crate::console::page::WebPage;
use crate::console::state::ConsoleState;
use crate::console::visit::Surroundings;

/// What the page says of a code that opens nothing.
const WRONG: &str = "The link has been used, or it has expired: a link is valid for one minute.";

/// The page of a link.
#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    frame: Frame,
    code: String,
    error: String,
}

/// The form of the page.
#[derive(Deserialize)]
pub(crate) struct LinkForm {
    code: String,
}

/// `GET /console/link`.
pub(super) async fn show(around: Surroundings) -> Response {
    let code = around.query.get("code").unwrap_or_default().to_owned();
    page(StatusCode::OK, &around, code, String::new())
}

/// `POST /console/link`.
pub(super) async fn sign_in(
    State(console): State<ConsoleState>,
    around: Surroundings,
    parts: Parts,
    PageForm(LinkForm { code }): PageForm<LinkForm>,
) -> Response {
    match console.api.sessions().sign_in_by_code(&parts, &code).await {
        Ok(cookie) => signed_in(cookie, HOME),
        Err(error) => {
            refuse(&error, WRONG, |status, text| page(status, &around, String::new(), text))
        }
    }
}

fn page(status: StatusCode, around: &Surroundings, code: String, error: String) -> Response {
    let frame = around.frame("Sign in", NavPage::Elsewhere, None);
    (status, WebPage(LinkPage { frame, code, error })).into_response()
}
