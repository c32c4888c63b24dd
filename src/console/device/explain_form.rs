//! `/console/devices/{tenant}/{device}/explain`: what Sluice would decide about a message of the
//! device, check by check. It stores nothing.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::console::device_address::DeviceAddress;
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage, shell_quoted};
use crate::console::page::{PageError, WebPage};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::Explained;

/// A payload to begin with.
const EXAMPLE: &str = r#"{"metrics": {"temp_c": 21.5}}"#;

/// The form, and what the checks say.
#[derive(Template)]
#[template(path = "device_explain.html")]
struct DeviceExplainPage {
    frame: Frame,
    base: String,
    name: String,
    given: MessageForm,
    explained: Option<Explained>,
    fault: Option<String>,
}

/// A message of the device.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MessageForm {
    msg_type: String,
    payload: String,
}

pub(super) async fn form(Path(address): Path<DeviceAddress>, visit: Visit) -> Response {
    let given = MessageForm { msg_type: "telemetry".to_owned(), payload: EXAMPLE.to_owned() };
    page(&visit, &address, given, Ok(None))
}

pub(super) async fn explain(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(given): PageForm<MessageForm>,
) -> Response {
    let body = json!({ "topic": topic(&address, &given), "payload": given.payload });
    let sent = console.api.send::<Explained>(&visit.person, "POST", "/api/v1/explain", Some(&body));
    match sent.await {
        Ok(explained) => page(&visit, &address, given, Ok(Some(explained))),
        Err(fault) => page(&visit, &address, given, Err(PageError::from(fault))),
    }
}

// === private helpers ===

fn topic(address: &DeviceAddress, given: &MessageForm) -> String {
    format!("tenant/{}/device/{}/{}", address.tenant, address.device, given.msg_type.trim())
}

fn page(
    visit: &Visit,
    address: &DeviceAddress,
    given: MessageForm,
    outcome: Result<Option<Explained>, PageError>,
) -> Response {
    let name = format!("{}/{}", address.tenant, address.device);
    let topic = topic(address, &given);
    let body = json!({ "topic": topic, "payload": given.payload }).to_string();
    let command = format!("explain --topic {} --payload payload.json", shell_quoted(&topic));
    let frame = visit.frame(format!("Explain a message of {name}"), NavPage::Devices);
    let frame = frame.same_by_sending(&command, "POST", "/api/v1/explain", &body);
    let (explained, error) = match outcome {
        Ok(explained) => (explained, None),
        Err(error) => (None, Some(error)),
    };
    let status = error.as_ref().map_or(axum::http::StatusCode::OK, |error| error.status);
    let fault = error.map(|error| error.detail);
    let base = address.path();
    (status, WebPage(DeviceExplainPage { frame, base, name, given, explained, fault }))
        .into_response()
}

// === impl DeviceExplainPage ===

impl DeviceExplainPage {
    /// The class and the icon of a verdict.
    #[expect(clippy::unused_self, reason = "the template calls it as a method")]
    fn verdict(&self, verdict: &str) -> (&'static str, &'static str) {
        match verdict {
            "passed" => ("ok-text", "check"),
            "refused" => ("bad-text", "cross"),
            _ => ("muted", "off"),
        }
    }
}
