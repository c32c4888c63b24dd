//! `/console`: whether all is well.
//!
//! It reads only.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    title: &'a str,
}

pub(crate) async fn show() -> Response {
    match (OverviewPage { title: "Sluice" }).render() {
        Ok(page) => (StatusCode::UNAUTHORIZED, Html(page)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
