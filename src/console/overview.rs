//! `/console`: whether all is well, in five seconds; the part that changes, once a second.
//!
//! The part is rendered at most once a second, and all viewers get the same bytes. While Postgres is
//! away it shows the broker's side, and says what is missing.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;
use tokio::time::Instant;

use super::filters;
use super::frame::{Frame, NavPage};
use super::markup::Markup;
use super::overview_part::OverviewPart;
use super::page::{PageError, WebPage};
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::{ApiFault, OverviewView};

/// How long a rendered part is shown to everyone.
const RENDER_PERIOD: Duration = Duration::from_millis(950);

/// The route of the API that has the data.
const TARGET: &str = "/api/v1/overview";

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct OverviewPage {
    frame: Frame,
    part: Arc<Markup>,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/console", get(show)).route("/console/overview/part", get(show_part))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<OverviewPage>, PageError> {
    let part = current(&console, &visit).await?;
    let frame = visit.frame("Overview", NavPage::Overview).same_by("health", "GET", TARGET);
    Ok(WebPage(OverviewPage { frame, part }))
}

async fn show_part(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Html<String>, PageError> {
    Ok(Html(current(&console, &visit).await?.as_str().to_owned()))
}

/// The part of this second.
async fn current(console: &ConsoleState, visit: &Visit) -> Result<Arc<Markup>, PageError> {
    let slot = console.parts.slot(visit.person.tenant.as_ref());
    let mut last = slot.lock().await;
    if let Some((rendered_at, part)) = last.as_ref()
        && rendered_at.elapsed() < RENDER_PERIOD
    {
        return Ok(Arc::clone(part));
    }
    let view: OverviewView = console.api.get(&visit.person, TARGET).await?;
    let part = Markup::of(&OverviewPart::new(view)).map_err(|error| {
        tracing::error!(%error, "rendering the overview failed; the browser gets status 500");
        PageError::from(ApiFault::unreadable())
    })?;
    let part = Arc::new(part);
    *last = Some((Instant::now(), Arc::clone(&part)));
    Ok(part)
}
