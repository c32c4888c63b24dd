//! `/console/cells`: the cells of this registry and their authorities, or the copy of the registry in
//! this cell.
//!
//! It reads only: `sluice cell` joins and leaves.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::filters;
use super::frame::Frame;
use super::navigation::NavPage;
use super::page::{PageError, WebPage};
use super::state::ConsoleState;
use super::visit::Visit;
use crate::domain::caller::CallerRole;
use crate::http::{CellAuthorityView, CellsView, RegisteredCellView};
use crate::registry::cells::watch::LAG_LIMIT;

/// The route of the API that has the data.
const TARGET: &str = "/api/v1/cells";
/// A cell that was not seen for longer, in seconds, is a warning; as in the alerts.
const LONG_UNSEEN: f64 = 120.0;

/// The page.
#[derive(Template)]
#[template(path = "cells.html")]
struct CellsPage {
    frame: Frame,
    /// `None`: the person may see one tenant only.
    view: Option<CellsView>,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/console/cells", get(show))
}

/// The authorities by whose name a certificate can be ordered.
#[derive(Debug, Default)]
pub(super) struct AuthorityChoice {
    /// Their names.
    pub names: Vec<String>,
    /// Why they could not be read.
    pub fault: Option<String>,
}

/// The authorities for a form that needs `role`; none for a person who may not send it, or who may see one
/// tenant only.
pub(super) async fn authority_choice(
    console: &ConsoleState,
    visit: &Visit,
    role: CallerRole,
) -> AuthorityChoice {
    if visit.person.tenant.is_some() || visit.person.role < role {
        return AuthorityChoice::default();
    }
    match console.api.get::<CellsView>(&visit.person, TARGET).await {
        Ok(CellsView { authorities, authorities_fault: fault, .. }) => {
            let names = authorities.into_iter().map(|authority| authority.name).collect();
            AuthorityChoice { names, fault }
        }
        Err(fault) => AuthorityChoice { names: Vec::new(), fault: Some(fault.detail) },
    }
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<CellsPage>, PageError> {
    let frame = visit.frame("Cells", NavPage::Cells).same_by("cell status", "GET", TARGET);
    // Cells serve all tenants.
    if visit.person.tenant.is_some() {
        return Ok(WebPage(CellsPage { frame, view: None }));
    }
    let view = console.api.get(&visit.person, TARGET).await?;
    Ok(WebPage(CellsPage { frame, view: Some(view) }))
}

// === impl CellsPage ===

impl CellsPage {
    /// The tone and the word of a cell's state, the worst first.
    fn state(cell: &RegisteredCellView) -> (&'static str, &'static str) {
        if cell.slot_fault.is_some() {
            ("bad", "must join again")
        } else if !cell.connected {
            ("bad", "not connected")
        } else if cell.seen_seconds > LONG_UNSEEN {
            ("warn", "not seen")
        } else {
            ("ok", "connected")
        }
    }

    fn lag_tone(seconds: f64) -> &'static str {
        if seconds > LAG_LIMIT { "bad" } else { "ok" }
    }

    fn seconds(seconds: f64) -> String {
        format!("{seconds:.1} s")
    }

    fn tone_of(authority: &CellAuthorityView) -> &'static str {
        match (&authority.not_after, &authority.warning) {
            (None, _) => "bad",
            (Some(_), Some(_)) => "warn",
            (Some(_), None) => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_state_of_a_cell_is_shown() {
        let json = r#"{"cell":"north","slot":"sluice_north","joined_at":"2026-11-01T00:00:00Z",
            "seen_at":"2026-11-02T00:00:00Z","seen_seconds":300.0,"connected":false,"wal_status":"lost",
            "wal_held_bytes":0,"lag_bytes":9,"slot_fault":"it is lost"}"#;
        let mut cell: RegisteredCellView = serde_json::from_str(json).unwrap();
        assert_eq!(CellsPage::state(&cell), ("bad", "must join again"));
        cell.slot_fault = None;
        assert_eq!(CellsPage::state(&cell), ("bad", "not connected"));
        cell.connected = true;
        assert_eq!(CellsPage::state(&cell), ("warn", "not seen"));
        cell.seen_seconds = 3.0;
        assert_eq!(CellsPage::state(&cell), ("ok", "connected"));
        assert_eq!(CellsPage::lag_tone(31.0), "bad");
    }
}
