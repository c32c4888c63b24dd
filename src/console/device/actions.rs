//! What the page of a device does: its status, its token, its removal, a command, its desired
//! document. Each is one call of the API.
//!
//! A token is on the page that answers, and in no cookie and no address.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::console::device_address::{DEVICES, DeviceAddress};
use crate::console::devices::TokenPage;
use crate::console::form::PageForm;
use crate::console::frame::{NavPage, counted};
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{CommandView, DeviceToken, RemovedDevice};

/// The new status.
#[derive(Debug, Deserialize)]
pub(super) struct StatusForm {
    status: String,
}

/// What was typed to remove the device.
#[derive(Debug, Deserialize)]
pub(super) struct RemovalForm {
    #[serde(default)]
    typed: String,
}

/// A command.
#[derive(Debug, Deserialize)]
pub(super) struct CommandForm {
    command_type: String,
    #[serde(default)]
    params: String,
}

/// Which command to cancel.
#[derive(Debug, Deserialize)]
pub(super) struct CancelForm {
    command: Uuid,
}

/// A patch of the desired document.
#[derive(Debug, Deserialize)]
pub(super) struct DesiredForm {
    patch: String,
}

pub(super) async fn set_status(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(form): PageForm<StatusForm>,
) -> Redirected {
    let body = json!({ "status": form.status });
    let target = address.api();
    let sent = console.api.send::<IgnoredAny>(&visit.person, "PATCH", &target, Some(&body));
    let done = format!("{}/{} is {}", address.tenant, address.device, form.status);
    back(&address, sent.await.map(|_| done))
}

pub(super) async fn make_token(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
) -> Response {
    let target = format!("{}/token", address.api());
    let made = console.api.send::<DeviceToken>(&visit.person, "POST", &target, None::<&Value>);
    match made.await {
        Ok(DeviceToken { token, .. }) => {
            let name = format!("{}/{}", address.tenant, address.device);
            let command = format!("device set-token {}", address.words());
            let frame = visit.frame(format!("New token of {name}"), NavPage::Devices);
            let frame = frame.same_by(&command, "POST", &target);
            let said = format!("{name} has a new token; the old one is invalid.");
            WebPage(TokenPage::of_token(frame, name, address.path(), said, token)).into_response()
        }
        Err(fault) => back(&address, Err(fault)).into_response(),
    }
}

pub(super) async fn remove(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(form): PageForm<RemovalForm>,
) -> Redirected {
    if form.typed != address.device {
        let why = format!("Nothing was removed: type {} to remove it", address.device);
        return Redirected::to(address.path()).with(Notice::failed(why));
    }
    let target = address.api();
    let sent = console.api.send::<RemovedDevice>(&visit.person, "DELETE", &target, None::<&Value>);
    match sent.await {
        Ok(removed) => {
            let revoked = counted(removed.certificates_revoked, "certificate", "certificates");
            let (tenant, device) = (&address.tenant, &address.device);
            let done = format!("{tenant}/{device} is removed, and {revoked} revoked");
            Redirected::to(DEVICES).with(Notice::done(done))
        }
        Err(fault) => back(&address, Err(fault)),
    }
}

pub(super) async fn queue(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(form): PageForm<CommandForm>,
) -> Redirected {
    let text = if form.params.trim().is_empty() { "{}" } else { form.params.as_str() };
    let params: Value = match serde_json::from_str(text) {
        Ok(params) => params,
        Err(error) => return not_json(&address, "the parameters", &error),
    };
    let body = json!({ "command_type": form.command_type.trim(), "params": params });
    let target = format!("{}/commands", address.api());
    let sent = console.api.send::<CommandView>(&visit.person, "POST", &target, Some(&body));
    let done = format!("The command {} is queued", form.command_type.trim());
    back(&address, sent.await.map(|_| done))
}

pub(super) async fn cancel(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(form): PageForm<CancelForm>,
) -> Redirected {
    let target = format!("{}/commands/{}", address.api(), form.command);
    let sent = console.api.send::<CommandView>(&visit.person, "DELETE", &target, None::<&Value>);
    let done = |command: CommandView| format!("The command {} is cancelled", command.command_type);
    back(&address, sent.await.map(done))
}

pub(super) async fn patch_desired(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
    PageForm(form): PageForm<DesiredForm>,
) -> Redirected {
    let patch: Value = match serde_json::from_str(&form.patch) {
        Ok(patch) => patch,
        Err(error) => return not_json(&address, "the change", &error),
    };
    let target = format!("{}/shadow/desired", address.api());
    let sent = console.api.send::<IgnoredAny>(&visit.person, "PATCH", &target, Some(&patch));
    back(&address, sent.await.map(|_| "The desired document is changed".to_owned()))
}

// === private helpers ===

/// The page of the device, with what became of the action.
pub(super) fn back(
    address: &DeviceAddress,
    outcome: Result<String, crate::http::ApiFault>,
) -> Redirected {
    let notice = match outcome {
        Ok(done) => Notice::done(done),
        Err(fault) => Notice::failed(PageError::from(fault).detail),
    };
    Redirected::to(address.path()).with(notice)
}

fn not_json(address: &DeviceAddress, what: &str, error: &serde_json::Error) -> Redirected {
    let why =
        format!("Nothing was changed: {what} must be a JSON object such as {{\"a\": 1}}: {error}");
    Redirected::to(address.path()).with(Notice::failed(why))
}
