//! `/console/links/{name}/refused/{id}`: a message that a link did not accept, with its payload.
//!
//! The payload is shown as text or in hex, never as HTML.

use askama::Template;
use axum::extract::{Path, State};

use super::words::{href, target};
use crate::console::device_address::device_path;
use crate::console::filters;
use crate::console::frame::{Frame, NavPage, shell_quoted};
use crate::console::page::{PageError, WebPage};
use crate::console::query::segment;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::DeadLetterView;

/// The page.
#[derive(Template)]
#[template(path = "link_letter.html")]
pub(super) struct LetterPage {
    frame: Frame,
    base: String,
    letter: DeadLetterView,
}

pub(super) async fn show(
    State(console): State<ConsoleState>,
    Path((name, id)): Path<(String, String)>,
    visit: Visit,
) -> Result<WebPage<LetterPage>, PageError> {
    let target = format!("{}/refused/{}", target(&name), segment(&id));
    let letter: DeadLetterView = console.api.get(&visit.person, &target).await?;
    let command = format!("link refused show {} {}", shell_quoted(&name), shell_quoted(&id));
    let frame =
        visit.frame(format!("Message {id}"), NavPage::Links).same_by(&command, "GET", &target);
    Ok(WebPage(LetterPage { frame, base: href(&name), letter }))
}

// === impl LetterPage ===

impl LetterPage {
    /// The payload with indentation, if it is JSON.
    fn payload(&self) -> Option<String> {
        let text = self.letter.payload.as_deref()?;
        let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
        Some(pretty.unwrap_or_else(|| text.to_owned()))
    }

    fn device_href(&self) -> String {
        let summary = &self.letter.summary;
        device_path(&summary.tenant_id, &summary.device_id)
    }
}
