//! `/console/settings`: the settings in force, each with its source and what it does.
//!
//! Only admins see it. It changes nothing: a daemon reads its settings at its start.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::filters;
use super::frame::{Frame, NavPage};
use super::list::FilterLink;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::{SettingView, SettingsView};

const PATH: &str = "/console/settings";

/// The page.
#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    view: SettingsView,
    /// The toggle "changed only".
    changed_only: FilterLink,
    search: String,
}

/// The settings of an area.
struct AreaRows<'a> {
    name: &'a str,
    rows: Vec<&'a SettingView>,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route(PATH, get(show))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<SettingsPage>, PageError> {
    let query = visit.query().only(&["changed", "search"]);
    let target = query.href("/api/v1/settings");
    let view: SettingsView = console.api.get(&visit.person, &target).await?;
    let search = query.get("search").unwrap_or_default().to_owned();
    let changed_only = FilterLink::toggle(PATH, &query, "changed", "true", "Changed only")
        .counting(u64::try_from(view.changed).unwrap_or(u64::MAX));
    let frame = visit.frame("Settings", NavPage::Settings).same_by("config show", "GET", &target);
    Ok(WebPage(SettingsPage { frame, view, changed_only, search }))
}

// === impl SettingsPage ===

impl SettingsPage {
    /// The settings by area, in their order.
    fn areas(&self) -> Vec<AreaRows<'_>> {
        let mut areas: Vec<AreaRows<'_>> = Vec::new();
        for row in &self.view.settings {
            match areas.last_mut().filter(|area| area.name == row.area) {
                Some(area) => area.rows.push(row),
                None => areas.push(AreaRows { name: &row.area, rows: vec![row] }),
            }
        }
        areas
    }

    fn is_changed_only(&self) -> bool {
        self.changed_only.is_on
    }

    fn everything() -> String {
        PageQuery::default().href(PATH)
    }
}
