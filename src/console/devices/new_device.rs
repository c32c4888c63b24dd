//! `/console/devices/new`: registers a device. Its token is on the page that answers, and on no
//! other.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::console::device_address::device_path;
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage, shell_quoted};
use crate::console::page::{Page, PageError};
use crate::console::query::segment;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{AddedDevice, ApiFault};

/// The form.
#[derive(Template)]
#[template(path = "device_new.html")]
pub(super) struct NewDevicePage {
    frame: Frame,
    given: NewDeviceForm,
    fault: Option<String>,
}

/// The token of a device, once.
#[derive(Template)]
#[template(path = "device_token.html")]
pub(crate) struct TokenPage {
    pub frame: Frame,
    pub name: String,
    pub href: String,
    pub said: String,
    pub token: Option<String>,
}

/// What the form sends.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct NewDeviceForm {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    device: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    metadata: String,
    /// `on`: generate a token.
    token: Option<String>,
}

pub(super) async fn form(visit: Visit) -> Page<NewDevicePage> {
    let text = |name: &str| visit.query().get(name).unwrap_or_default().to_owned();
    let given = NewDeviceForm {
        tenant: text("tenant"),
        device: text("device"),
        site: text("site"),
        metadata: String::new(),
        token: Some("on".to_owned()),
    };
    Page(NewDevicePage { frame: visit.frame("Add a device", NavPage::Devices), given, fault: None })
}

pub(super) async fn add(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(given): PageForm<NewDeviceForm>,
) -> Result<Response, PageError> {
    let metadata = match read_metadata(&given.metadata) {
        Ok(metadata) => metadata,
        Err(fault) => return Ok(again(&visit, given, fault)),
    };
    let mut body = json!({
        "device_id": given.device.trim(), "metadata": metadata, "token": given.token.is_some(),
    });
    if !given.site.trim().is_empty() {
        body["site_id"] = json!(given.site.trim());
    }
    let target = format!("/api/v1/tenants/{}/devices", segment(given.tenant.trim()));
    let added = console.api.send::<AddedDevice>(&visit.person, "POST", &target, Some(&body));
    match added.await {
        Ok(AddedDevice { device, token }) => {
            let device = device.device;
            let name = format!("{}/{}", device.tenant_id, device.device_id);
            let href = device_path(&device.tenant_id, &device.device_id);
            let command = command(&given, token.is_some());
            let frame = visit.frame(format!("{name} is registered"), NavPage::Devices);
            let frame = frame.same_by_sending(&command, "POST", &target, &body.to_string());
            let said = format!("{name} is registered.");
            Ok(Page(TokenPage { frame, name, href, said, token }).into_response())
        }
        Err(fault) if is_of_form(&fault) => Ok(again(&visit, given, PageError::from(fault).detail)),
        Err(fault) => Err(fault.into()),
    }
}

/// A JSON object; nothing is an empty one.
pub(crate) fn read_metadata(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|error| {
        format!("the metadata is no JSON object such as {{\"model\": \"P7\"}}: {error}")
    })
}

// === private helpers ===

/// Whether another value in the form would help.
const fn is_of_form(fault: &ApiFault) -> bool {
    matches!(fault.status, 400 | 404 | 409 | 413 | 422)
}

fn again(visit: &Visit, given: NewDeviceForm, fault: String) -> Response {
    let frame = visit.frame("Add a device", NavPage::Devices);
    let page = NewDevicePage { frame, given, fault: Some(fault) };
    (StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response()
}

fn command(given: &NewDeviceForm, has_token: bool) -> String {
    let (tenant, device) = (shell_quoted(given.tenant.trim()), shell_quoted(given.device.trim()));
    let mut command = format!("device add {tenant} {device}");
    if !given.site.trim().is_empty() {
        let _ = write!(command, " --site {}", shell_quoted(given.site.trim()));
    }
    if !given.metadata.trim().is_empty() {
        let _ = write!(command, " --metadata {}", shell_quoted(given.metadata.trim()));
    }
    if !has_token {
        command.push_str(" --no-token");
    }
    command
}
