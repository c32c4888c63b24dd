//! `POST /console/devices/selected`: what is done with the selected devices. First a page says what
//! will happen to how many; its button does it.
//!
//! It removes nothing: that needs the name of one device. What cannot be undone needs their number,
//! typed.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::console::device_address::{DEVICES, device_path};
use crate::console::filters;
use crate::console::form::{FormFields, PageForm};
use crate::console::frame::{Frame, NavPage, counted};
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::segment;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::domain::ids::DeviceKey;
use crate::http::{ApiFault, CertificateView, IssuedCertificate, PageOf};

/// Most devices of one action: a page of the list has as many.
const SELECTED_MAX: usize = 50;

/// Certificates of one device that are revoked: more are not ACTIVE at a time.
const CERTIFICATES_MAX: u32 = 50;

/// The list of revocations whose proof is missing.
const REVOKED: &str = "/console/certificates?search=status%3AREVOKED";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BulkAct {
    Activate,
    Deactivate,
    Rotate,
    Revoke,
}

/// The question.
#[derive(Template)]
#[template(path = "devices_selected.html")]
struct SelectedPage {
    frame: Frame,
    act: BulkAct,
    devices: Vec<DeviceKey>,
}

/// The new certificates and their keys.
#[derive(Template)]
#[template(path = "devices_rotated.html")]
struct RotatedPage {
    frame: Frame,
    rotated: Vec<RotatedDevice>,
}

/// What became of one device.
struct RotatedDevice {
    name: String,
    href: String,
    outcome: Result<IssuedCertificate, String>,
}

pub(super) async fn act(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(fields): PageForm<FormFields>,
) -> Result<Response, PageError> {
    let act = fields.get("act").and_then(BulkAct::of);
    let act = act.ok_or_else(|| PageError::bad_request("the form names no action"))?;
    let devices = selected(&fields)?;
    if fields.get("sure").is_none() {
        let title = format!("{} {}?", act.label(), counted_devices(devices.len()));
        let frame = visit.frame(title, NavPage::Devices);
        return Ok(WebPage(SelectedPage { frame, act, devices }).into_response());
    }
    let typed = fields.get("typed").unwrap_or_default();
    if act == BulkAct::Revoke && typed != devices.len().to_string() {
        let notice = Notice::failed("Nothing was revoked: type the number of devices");
        return Ok(Redirected::to(DEVICES).with(notice).into_response());
    }
    Ok(match act {
        BulkAct::Rotate => rotate(&console, &visit, devices).await.into_response(),
        BulkAct::Revoke => {
            let reason = fields.get("reason").unwrap_or("unspecified");
            revoke(&console, &visit, &devices, reason).await.into_response()
        }
        BulkAct::Activate | BulkAct::Deactivate => {
            change(&console, &visit, act, &devices).await.into_response()
        }
    })
}

async fn change(
    console: &ConsoleState,
    visit: &Visit,
    act: BulkAct,
    devices: &[DeviceKey],
) -> Redirected {
    let body = json!({ "status": act.status() });
    let (mut done, mut failed) = (0, Vec::new());
    for device in devices {
        let target = api_path(device);
        let sent = console.api.send::<IgnoredAny>(&visit.person, "PATCH", &target, Some(&body));
        match sent.await {
            Ok(_) => done += 1,
            Err(fault) => failed.push(format!("{device}: {}", fault.detail)),
        }
    }
    let status = act.status();
    let notice = match failed.first() {
        None => Notice::done(format!("{} now {status}", counted_devices(done))),
        Some(first) => Notice::failed(format!(
            "{} now {status}; {} not changed: {first}",
            counted_devices(done),
            counted_devices(failed.len())
        )),
    };
    Redirected::to(DEVICES).with(notice)
}

/// Revokes each ACTIVE certificate of the devices; each is a call, and an entry of the audit log.
async fn revoke(
    console: &ConsoleState,
    visit: &Visit,
    devices: &[DeviceKey],
    reason: &str,
) -> Redirected {
    let (mut done, mut failed) = (0, Vec::new());
    for device in devices {
        match revoke_all(console, visit, device, reason).await {
            Ok(revoked) => done += revoked,
            Err(fault) => failed.push(format!("{device}: {}", fault.detail)),
        }
    }
    let done = counted(done, "certificate", "certificates");
    let notice = match failed.first() {
        None => Notice::done(format!(
            "{done} of {} revoked; the list below shows which are not proven yet",
            counted_devices(devices.len())
        )),
        Some(first) => Notice::failed(format!(
            "{done} revoked; {} not: {first}",
            counted_devices(failed.len())
        )),
    };
    Redirected::to(REVOKED).with(notice)
}

async fn revoke_all(
    console: &ConsoleState,
    visit: &Visit,
    device: &DeviceKey,
    reason: &str,
) -> Result<u64, ApiFault> {
    let (tenant, name) = (segment(device.tenant()), segment(device.device()));
    let target = format!(
        "/api/v1/certificates?tenant={tenant}&device={name}&status=ACTIVE&limit={CERTIFICATES_MAX}"
    );
    let held: PageOf<CertificateView> = console.api.get(&visit.person, &target).await?;
    let body = json!({ "reason": reason });
    for certificate in &held.items {
        let target = format!("/api/v1/certificates/{}/revoke", certificate.id);
        console.api.send::<IgnoredAny>(&visit.person, "POST", &target, Some(&body)).await?;
    }
    Ok(held.items.len() as u64)
}

async fn rotate(
    console: &ConsoleState,
    visit: &Visit,
    devices: Vec<DeviceKey>,
) -> WebPage<RotatedPage> {
    let mut rotated = Vec::with_capacity(devices.len());
    for device in devices {
        let outcome = rotate_one(console, visit, &device).await.map_err(|fault| fault.detail);
        let href = device_path(device.tenant(), device.device());
        rotated.push(RotatedDevice { name: device.to_string(), href, outcome });
    }
    let frame = visit.frame("New certificates", NavPage::Devices);
    WebPage(RotatedPage { frame, rotated })
}

async fn rotate_one(
    console: &ConsoleState,
    visit: &Visit,
    device: &DeviceKey,
) -> Result<IssuedCertificate, ApiFault> {
    let target = format!(
        "/api/v1/devices?tenant={}&limit=1&search=%22{}%22",
        segment(device.tenant()),
        segment(device.device())
    );
    let found: crate::http::CountedPage<crate::http::DeviceListView> =
        console.api.get(&visit.person, &target).await?;
    let held = found.items.first().and_then(|row| row.certificate_id);
    let body = json!({ "new_key": true });
    let target = match held {
        Some(id) => format!("/api/v1/certificates/{id}/rotate"),
        None => format!("{}/certificates", api_path(device)),
    };
    console.api.send(&visit.person, "POST", &target, Some(&body)).await
}

// === impl BulkAct ===

impl BulkAct {
    fn of(name: &str) -> Option<Self> {
        let all = [Self::Activate, Self::Deactivate, Self::Rotate, Self::Revoke];
        all.into_iter().find(|act| act.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Activate => "Activate",
            Self::Deactivate => "Deactivate",
            Self::Rotate => "Rotate the certificates of",
            Self::Revoke => "Revoke the certificates of",
        }
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Deactivate => "INACTIVE",
            Self::Activate | Self::Rotate | Self::Revoke => "ACTIVE",
        }
    }

    const fn effect(self) -> &'static str {
        match self {
            Self::Activate => "Sluice accepts their messages again, as soon as they authenticate.",
            Self::Deactivate => {
                "Sluice refuses their messages and keeps samples of them in the quarantine. Activate them to undo it."
            }
            Self::Rotate => {
                "Each device gets a new certificate with a new private key, which the next page shows once. The old certificate is revoked after ROTATION_GRACE_HOURS (24 by default): install the new one on the device before that."
            }
            Self::Revoke => {
                "Every ACTIVE certificate of these devices is revoked, also one that a rotation has just issued. Mosquitto refuses them as soon as it has read the new CRL, and ends their sessions. It cannot be undone: the devices need new certificates."
            }
        }
    }
}

// === impl SelectedPage ===

impl SelectedPage {
    /// The number to type before what cannot be undone; empty: nothing.
    fn typed(&self) -> String {
        if self.act == BulkAct::Revoke { self.devices.len().to_string() } else { String::new() }
    }

    const fn reasons() -> [&'static str; 5] {
        ["keyCompromise", "superseded", "cessationOfOperation", "affiliationChanged", "unspecified"]
    }

    fn count(&self) -> String {
        counted_devices(self.devices.len())
    }
}

// === private helpers ===

fn selected(fields: &FormFields) -> Result<Vec<DeviceKey>, PageError> {
    let mut devices = Vec::new();
    for name in fields.all("device") {
        let key =
            name.split_once('/').and_then(|(tenant, device)| DeviceKey::new(tenant, device).ok());
        let key = key.ok_or_else(|| PageError::bad_request("the form names an invalid device"))?;
        if !devices.contains(&key) {
            devices.push(key);
        }
    }
    if devices.is_empty() || devices.len() > SELECTED_MAX {
        let why = format!("select 1 to {SELECTED_MAX} devices");
        return Err(PageError::bad_request(why).or("Devices", DEVICES));
    }
    Ok(devices)
}

fn counted_devices(number: usize) -> String {
    counted(number as u64, "device", "devices")
}

fn api_path(device: &DeviceKey) -> String {
    let (tenant, name) = (segment(device.tenant()), segment(device.device()));
    format!("/api/v1/tenants/{tenant}/devices/{name}")
}
