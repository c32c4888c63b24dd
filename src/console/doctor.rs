//! `/console/doctor`: what is wrong, the worst first, each with its fix.
//!
//! It shows the last examination with its age; the first visit starts one, and so does the button.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::filters;
use super::frame::{Frame, NavPage};
use super::markup::Markup;
use super::notice::Redirected;
use super::page::{PageError, WebPage};
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::{ApiFault, DoctorView, FindingView};

const PATH: &str = "/console/doctor";

/// The last examination, however old, or the one that runs.
const LAST: &str = "/api/v1/doctor?max_age=86400&wait=1";

/// A new one, unless one has just ended.
const FRESH: &str = "/api/v1/doctor?wait=0";

/// The levels, the worst first, with their headings.
const LEVELS: [(&str, &str, &str); 3] = [
    ("error", "Errors", "bad"),
    ("warning", "Warnings", "warn"),
    ("ok", "Without a problem", "ok"),
];

/// The page.
#[derive(Template)]
#[template(path = "doctor.html")]
struct DoctorPage {
    frame: Frame,
    part: Markup,
}

/// The part that changes while an examination runs.
#[derive(Template)]
#[template(path = "parts/doctor.html")]
struct DoctorPart {
    view: DoctorView,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(PATH, get(show))
        .route("/console/doctor/part", get(show_part))
        .route("/console/doctor/run", post(run))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<DoctorPage>, PageError> {
    let view: DoctorView = console.api.get(&visit.person, LAST).await?;
    let frame = visit.frame("Doctor", NavPage::Doctor).same_by("doctor", "GET", "/api/v1/doctor");
    let part = Markup::of(&DoctorPart { view }).map_err(|error| {
        tracing::error!(%error, "rendering the findings failed; the browser gets status 500");
        PageError::from(ApiFault::unreadable())
    })?;
    Ok(WebPage(DoctorPage { frame, part }))
}

async fn show_part(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<DoctorPart>, PageError> {
    let view: DoctorView = console.api.get(&visit.person, LAST).await?;
    Ok(WebPage(DoctorPart { view }))
}

async fn run(State(console): State<ConsoleState>, visit: Visit) -> Result<Redirected, PageError> {
    let _started: DoctorView = console.api.get(&visit.person, FRESH).await?;
    Ok(Redirected::to(PATH))
}

// === impl DoctorPart ===

impl DoctorPart {
    fn is_running(&self) -> bool {
        self.view.state == "running"
    }

    fn levels() -> [(&'static str, &'static str, &'static str); 3] {
        LEVELS
    }

    fn of_level<'a>(&'a self, level: &'a str) -> Vec<&'a FindingView> {
        self.view.findings.iter().filter(|finding| finding.level == level).collect()
    }
}
