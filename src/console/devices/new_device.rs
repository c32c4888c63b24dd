//! `/console/devices/new`: registers a device. A device whose refused messages are kept can be given
//! what makes a replay store them; the form says how many it would be for each choice.
//!
//! A token and a private key are on the page that answers, and on no other. What fits is decided by
//! the API; the choice that trusts no message is the default.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::sender::{DeviceProof, SenderMessages};
use crate::console::device_address::{DeviceAddress, device_path};
use crate::console::filters;
use crate::console::form::PageForm;
use crate::console::frame::{Frame, NavPage, shell_quoted};
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::quarantine::job::JobPanel;
use crate::console::query::segment;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::caller::CallerRole;
use crate::http::{AddedDevice, ApiFault, IssuedCertificate};

/// The form.
#[derive(Template)]
#[template(path = "device_new.html")]
pub(super) struct NewDevicePage {
    frame: Frame,
    given: NewDeviceForm,
    fault: Option<String>,
    /// The refused messages of the device, if the form names one that has some.
    sender: Option<SenderMessages>,
}

/// What a device got, once.
#[derive(Template)]
#[template(path = "device_token.html")]
pub(crate) struct TokenPage {
    pub frame: Frame,
    pub name: String,
    pub href: String,
    pub said: String,
    pub token: Option<String>,
    /// A new certificate, or why there is none.
    pub issued: Option<Result<IssuedCertificate, String>>,
    /// The dry run of its refused messages.
    pub panel: Option<JobPanel>,
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
    #[serde(default)]
    proof: DeviceProof,
    /// The message whose token is taken over.
    #[serde(default)]
    token_of_event: String,
    /// `on`: a dry run of the refused messages follows.
    replay: Option<String>,
}

pub(super) async fn form(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> WebPage<NewDevicePage> {
    let text = |name: &str| visit.query().get(name).unwrap_or_default().to_owned();
    let mut given = NewDeviceForm {
        tenant: text("tenant"),
        device: text("device"),
        site: text("site"),
        ..NewDeviceForm::default()
    };
    let sender = sender(&console, &visit, &given).await;
    if let Some(site) = sender.as_ref().and_then(|sender| sender.preview.site_id.as_ref())
        && given.site.is_empty()
    {
        given.site.clone_from(site);
    }
    page(&visit, given, None, sender)
}

pub(super) async fn add(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(given): PageForm<NewDeviceForm>,
) -> Result<Response, PageError> {
    let metadata = match read_metadata(&given.metadata) {
        Ok(metadata) => metadata,
        Err(fault) => return Ok(again(&console, &visit, given, fault).await),
    };
    let body = given.body(&metadata);
    let target = format!("/api/v1/tenants/{}/devices", segment(given.tenant.trim()));
    let added = console.api.send::<AddedDevice>(&visit.person, "POST", &target, Some(&body));
    match added.await {
        Ok(added) => {
            let command = given.command();
            let name =
                format!("{}/{}", added.device.device.tenant_id, added.device.device.device_id);
            let frame = visit.frame(format!("{name} is registered"), NavPage::Devices);
            let frame = frame.same_by_sending(&command, "POST", &target, &body.to_string());
            Ok(equip(&console, &visit, given, added, frame).await)
        }
        Err(fault) if is_of_form(&fault) => {
            Ok(again(&console, &visit, given, PageError::from(fault).detail).await)
        }
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

// === impl NewDeviceForm ===

impl NewDeviceForm {
    /// The body of the call.
    fn body(&self, metadata: &Map<String, Value>) -> Value {
        let mut body = json!({
            "device_id": self.device.trim(), "metadata": metadata,
            "token": self.proof == DeviceProof::Token,
        });
        if !self.site.trim().is_empty() {
            body["site_id"] = json!(self.site.trim());
        }
        if self.proof == DeviceProof::Theirs {
            body["token_of_event"] = json!(self.token_of_event);
        }
        body
    }

    fn command(&self) -> String {
        let (tenant, device) = (shell_quoted(self.tenant.trim()), shell_quoted(self.device.trim()));
        let mut command = format!("device add {tenant} {device}");
        // Writing to a string does not fail.
        if !self.site.trim().is_empty() {
            let _ = write!(command, " --site {}", shell_quoted(self.site.trim()));
        }
        if !self.metadata.trim().is_empty() {
            let _ = write!(command, " --metadata {}", shell_quoted(self.metadata.trim()));
        }
        match self.proof {
            DeviceProof::Token => {}
            DeviceProof::Theirs => {
                let _ = write!(command, " --token-of-event {}", shell_quoted(&self.token_of_event));
            }
            DeviceProof::Certificate | DeviceProof::None => command.push_str(" --no-token"),
        }
        command
    }
}

// === impl NewDevicePage ===

impl NewDevicePage {
    fn is_chosen(&self, proof: &str) -> bool {
        self.given.proof.name() == proof
    }
}

// === impl TokenPage ===

impl TokenPage {
    /// With a token only.
    pub(crate) fn of_token(
        frame: Frame,
        name: String,
        href: String,
        said: String,
        token: Option<String>,
    ) -> Self {
        Self { frame, name, href, said, token, issued: None, panel: None }
    }
}

// === private helpers ===

/// Gives the device its certificate, orders the dry run of its messages, and shows what came of it.
async fn equip(
    console: &ConsoleState,
    visit: &Visit,
    given: NewDeviceForm,
    added: AddedDevice,
    frame: Frame,
) -> Response {
    let device = added.device.device;
    let address = DeviceAddress { tenant: device.tenant_id, device: device.device_id };
    let name = format!("{}/{}", address.tenant, address.device);
    let issued = if given.proof == DeviceProof::Certificate {
        let target = format!("{}/certificates", address.api());
        let body = json!({ "new_key": true });
        let sent =
            console.api.send::<IssuedCertificate>(&visit.person, "POST", &target, Some(&body));
        Some(sent.await.map_err(|fault| fault.detail))
    } else {
        None
    };
    let panel = match given.replay {
        Some(_) => JobPanel::of_device(console, visit, &address).await.map(Some),
        None => Ok(None),
    };
    let has_secret = added.token.is_some() || issued.is_some();
    let said = format!("{name} is registered.");
    let (said, panel) = match panel {
        Ok(Some(panel)) if !has_secret => {
            let said = format!("{said} The dry run says what a replay would store now.");
            return Redirected::to(panel.page_href).with(Notice::done(said)).into_response();
        }
        Ok(panel) => (said, panel),
        Err(fault) => (format!("{said} No dry run was ordered: {}", fault.detail), None),
    };
    let href = device_path(&address.tenant, &address.device);
    let page = TokenPage { frame, name, href, said, token: added.token, issued, panel };
    WebPage(page).into_response()
}

/// Whether another value in the form would help.
const fn is_of_form(fault: &ApiFault) -> bool {
    matches!(fault.status, 400 | 404 | 409 | 413 | 422)
}

async fn sender(
    console: &ConsoleState,
    visit: &Visit,
    given: &NewDeviceForm,
) -> Option<SenderMessages> {
    let (tenant, device) = (given.tenant.trim(), given.device.trim());
    let may_add = visit.person.role >= CallerRole::Admin;
    if tenant.is_empty() || device.is_empty() || !may_add {
        return None;
    }
    let address = DeviceAddress { tenant: tenant.to_owned(), device: device.to_owned() };
    SenderMessages::read(&console.api, &visit.person, address).await
}

fn page(
    visit: &Visit,
    given: NewDeviceForm,
    fault: Option<String>,
    sender: Option<SenderMessages>,
) -> WebPage<NewDevicePage> {
    let mut frame = visit.frame("Add a device", NavPage::Devices);
    if let Some(sender) = &sender {
        let command = format!("device preview {}", sender.address.words());
        let target = format!("{}/registration", sender.address.api());
        frame = frame.same_by(&command, "GET", &target);
    }
    WebPage(NewDevicePage { frame, given, fault, sender })
}

async fn again(
    console: &ConsoleState,
    visit: &Visit,
    given: NewDeviceForm,
    fault: String,
) -> Response {
    let sender = sender(console, visit, &given).await;
    let page = page(visit, given, Some(fault), sender);
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}
