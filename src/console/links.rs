//! `/console/links`: the links to other brokers, what waits for them, and what they did not accept.
//!
//! Read it in this order: this file lists them, [`one`] shows a link with its dead letters,
//! [`letter`] one dead letter, [`actions`] what a person does with them,
//! [`words`] the addresses and words that they share. It sends no message itself.

mod actions;
mod letter;
mod one;
mod words;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::words::{PATH, bytes, href, rate, tone_of};
use super::filters;
use super::frame::{Frame, NavPage};
use super::page::{PageError, WebPage};
use super::query::segment;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::TenantLinkView;
use crate::link::overview::LinkOverview;

/// The list of all links.
#[derive(Template)]
#[template(path = "links.html")]
struct LinksPage {
    frame: Frame,
    links: Vec<LinkOverview>,
}

/// What links did not accept of the only tenant that a person may see.
#[derive(Template)]
#[template(path = "links_of_tenant.html")]
struct TenantLinksPage {
    frame: Frame,
    tenant: String,
    links: Vec<TenantLinkView>,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(PATH, get(list))
        .route("/console/links/{name}", get(one::show))
        .route("/console/links/{name}/retry", post(actions::retry))
        .route("/console/links/{name}/refill", post(actions::refill))
        .route("/console/links/{name}/forget", post(actions::forget))
        .route("/console/links/{name}/refused/{id}", get(letter::show))
        .route("/console/links/{name}/refused/{id}/discard", post(actions::discard))
}

// === private helpers ===

async fn list(State(console): State<ConsoleState>, visit: Visit) -> Result<Response, PageError> {
    let frame = visit.frame("Links", NavPage::Links);
    if let Some(tenant) = &visit.person.tenant {
        let tenant = tenant.to_string();
        let target = format!("/api/v1/tenants/{}/links", segment(&tenant));
        let links = console.api.get(&visit.person, &target).await?;
        let frame = frame.same_by("", "GET", &target);
        return Ok(WebPage(TenantLinksPage { frame, tenant, links }).into_response());
    }
    let links = console.api.get(&visit.person, "/api/v1/links").await?;
    let frame = frame.same_by("link status", "GET", "/api/v1/links");
    Ok(WebPage(LinksPage { frame, links }).into_response())
}

// === impl LinksPage ===

impl LinksPage {
    fn rate(link: &LinkOverview) -> String {
        rate(link.sent_per_second)
    }

    fn bytes(link: &LinkOverview) -> String {
        bytes(link.waiting_bytes)
    }

    fn tone(link: &LinkOverview) -> &'static str {
        tone_of(&link.state)
    }

    fn href(link: &LinkOverview) -> String {
        href(&link.link)
    }
}

// === impl TenantLinksPage ===

impl TenantLinksPage {
    fn href(link: &TenantLinkView) -> String {
        href(&link.link)
    }
}
