//! The console: pages for a browser, below `/console`.
//!
//! Every page is HTML made in this process, and its address is its state. Its data comes from routes
//! of the API ([`crate::http::PageApi`]), which check what the person may see and change. It holds no
//! rule about messages, devices or certificates, and no SQL.

pub(crate) mod overview;

use axum::Router;
use axum::routing::get;

use crate::http::{PageApi, page_router};

/// The router of all pages.
pub fn console_router(api: &PageApi) -> Router {
    let pages = Router::new().route("/console", get(overview::show)).with_state(api.clone());
    page_router(pages)
}
