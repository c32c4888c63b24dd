//! `/console/go` and the palette: from what a person types to the page of it. A device, a
//! certificate's fingerprint, the identifier of an event or a certificate, a topic, a search.
//!
//! It finds only what the API shows the person.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::device_address::device_path;
use super::navigation::NAVIGATION;
use super::notice::Redirected;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;

/// The longest text that is looked up.
const TEXT_MAX: usize = 512;

/// The most devices that the palette shows.
const DEVICES_MAX: usize = 8;

/// The keys of a search that only refused messages have.
const QUARANTINE_KEYS: [&str; 5] = ["reason:", "topic:", "replayed:", "link:", "until:"];

/// The keys of a search that only certificates have.
const CERTIFICATE_KEYS: [&str; 3] = ["ends:", "fingerprint:", "cn:"];

/// The keys of a search that only live decisions have.
const LIVE_KEYS: [&str; 2] = ["outcome:", "type:"];

/// What was found.
#[derive(Template)]
#[template(path = "parts/palette.html")]
struct FoundPart {
    found: Vec<Destination>,
    text: String,
}

/// A page, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    label: String,
    kind: &'static str,
    href: String,
}

/// The part of a device that its address needs.
#[derive(Deserialize)]
struct FoundDevice {
    tenant_id: String,
    device_id: String,
}

#[derive(Deserialize)]
struct FoundDevices {
    items: Vec<FoundDevice>,
}

/// What a text says by its form alone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Jump {
    /// To this address.
    To(String),
    /// An event or a certificate with this identifier.
    Identifier(Uuid),
    /// A certificate with this fingerprint.
    Fingerprint(String),
    /// A device with this name, or names that begin so.
    Name(String),
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/console/go", get(go)).route("/console/palette", get(palette))
}

// === private helpers ===

async fn go(State(console): State<ConsoleState>, visit: Visit) -> Result<Response, PageError> {
    let text = typed(&visit);
    let to = match Jump::read(text) {
        Jump::To(href) => href,
        Jump::Identifier(id) => match identified(&console, &visit, id).await? {
            Some(found) => found.href,
            None => return Err(nothing(&format!("no event and no certificate has the id {id}"))),
        },
        Jump::Fingerprint(fingerprint) => {
            if knows(&console, &visit, &format!("/api/v1/certificates/{fingerprint}")).await? {
                format!("/console/certificates/{fingerprint}")
            } else {
                searching("/console/certificates", &format!("fingerprint:{fingerprint}*"))
            }
        }
        Jump::Name(name) => {
            let exact = devices(&console, &visit, &name).await;
            match exact.as_slice() {
                [only] => only.href.clone(),
                [] => searching("/console/devices", &format!("{}*", name.trim_end_matches('*'))),
                _ => searching("/console/devices", &name),
            }
        }
    };
    Ok(Redirected::to(to).into_response())
}

async fn palette(State(console): State<ConsoleState>, visit: Visit) -> WebPage<FoundPart> {
    let text = typed(&visit).to_owned();
    let mut found = Vec::new();
    if !text.is_empty() {
        match Jump::read(&text) {
            Jump::To(href) => {
                found.push(Destination { label: text.clone(), kind: "Search", href });
            }
            Jump::Identifier(id) => {
                found.extend(identified(&console, &visit, id).await.ok().flatten());
            }
            Jump::Fingerprint(hex) => found.push(Destination {
                href: PageQuery::from([("search", hex.as_str())]).href("/console/go"),
                label: hex,
                kind: "Fingerprint",
            }),
            Jump::Name(name) => {
                let prefix = format!("{}*", name.trim_end_matches('*'));
                found.extend(devices(&console, &visit, &prefix).await);
            }
        }
    }
    found.extend(pages(&visit, &text));
    WebPage(FoundPart { found, text })
}

fn typed(visit: &Visit) -> &str {
    let text = visit.query().get("search").unwrap_or_default().trim();
    if text.len() > TEXT_MAX { "" } else { text }
}

/// The pages whose name holds the text.
fn pages(visit: &Visit, text: &str) -> Vec<Destination> {
    let wanted = text.to_lowercase();
    let shown = NAVIGATION.iter().filter(|entry| visit.person.role >= entry.role);
    let named = shown.filter(|entry| entry.label.to_lowercase().contains(&wanted));
    let page = |label: &str, href: &str| Destination {
        label: label.to_owned(),
        kind: "Page",
        href: href.to_owned(),
    };
    named.map(|entry| page(entry.label, entry.href)).collect()
}

async fn identified(
    console: &ConsoleState,
    visit: &Visit,
    id: Uuid,
) -> Result<Option<Destination>, PageError> {
    let event = format!("/api/v1/quarantine/{id}");
    let certificate = format!("/api/v1/certificates/{id}");
    let (is_event, is_certificate) =
        tokio::join!(knows(console, visit, &event), knows(console, visit, &certificate));
    let (kind, path) = match (is_event?, is_certificate?) {
        (true, _) => ("Refused message", "quarantine"),
        (false, true) => ("Certificate", "certificates"),
        (false, false) => return Ok(None),
    };
    Ok(Some(Destination { label: id.to_string(), kind, href: format!("/console/{path}/{id}") }))
}

/// Whether the API shows this to the person.
async fn knows(console: &ConsoleState, visit: &Visit, target: &str) -> Result<bool, PageError> {
    match console.api.get::<IgnoredAny>(&visit.person, target).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.status == 404 => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}

/// The devices that a search finds; none if it cannot be read.
async fn devices(console: &ConsoleState, visit: &Visit, search: &str) -> Vec<Destination> {
    let limit = DEVICES_MAX.to_string();
    let query = PageQuery::from([("search", search), ("limit", limit.as_str())]);
    let target = query.href("/api/v1/devices");
    let found: Result<FoundDevices, _> = console.api.get(&visit.person, &target).await;
    let devices = found.map(|found| found.items).unwrap_or_default();
    devices
        .into_iter()
        .map(|device| Destination {
            href: device_path(&device.tenant_id, &device.device_id),
            label: format!("{} / {}", device.tenant_id, device.device_id),
            kind: "Device",
        })
        .collect()
}

fn searching(path: &str, search: &str) -> String {
    PageQuery::from([("search", search)]).href(path)
}

fn nothing(detail: &str) -> PageError {
    PageError::not_found(detail)
        .or("Quarantine", "/console/quarantine")
        .or("Certificates", "/console/certificates")
}

// === impl Jump ===

impl Jump {
    fn read(text: &str) -> Self {
        if text.is_empty() {
            return Self::To("/console/devices".to_owned());
        }
        if let Ok(id) = text.parse() {
            return Self::Identifier(id);
        }
        let hex: String = text.chars().filter(|c| *c != ':').collect::<String>().to_lowercase();
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && (hex.len() == 64 || (hex.len() >= 16 && hex.len() < 64)) {
            return Self::Fingerprint(hex);
        }
        let words: Vec<&str> = text.split('/').collect();
        match words.as_slice() {
            ["tenant", tenant, "device", device, ..] => {
                return Self::To(device_path(tenant, device));
            }
            [tenant, device] if !text.contains([' ', ':']) => {
                return Self::To(device_path(tenant.trim(), device.trim()));
            }
            _ => {}
        }
        let has_key = |keys: &[&str]| {
            text.split(' ')
                .any(|word| keys.iter().any(|key| word.trim_start_matches('-').starts_with(key)))
        };
        if has_key(&CERTIFICATE_KEYS) {
            return Self::To(searching("/console/certificates", text));
        }
        if has_key(&LIVE_KEYS) {
            return Self::To(searching("/console/live", text));
        }
        if has_key(&QUARANTINE_KEYS) {
            return Self::To(searching("/console/quarantine", text));
        }
        if text.contains([':', ' ']) || text.starts_with('-') {
            return Self::To(searching("/console/devices", text));
        }
        Self::Name(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(href: &str) -> Jump {
        Jump::To(href.to_owned())
    }

    #[test]
    fn the_form_of_a_text_says_where_it_leads() {
        let id = "0199b0f2-0000-7000-8000-000000000001";
        assert_eq!(Jump::read(id), Jump::Identifier(id.parse().unwrap()));
        let hex = "3F:9A".to_owned() + &"0".repeat(60);
        assert_eq!(Jump::read(&hex), Jump::Fingerprint("3f9a".to_owned() + &"0".repeat(60)));
        let device = to("/console/devices/acme/pump-7");
        assert_eq!(Jump::read("tenant/acme/device/pump-7/telemetry/x"), device);
        assert_eq!(Jump::read("acme / pump-7"), to("/console/devices?search=acme+%2F+pump-7"));
        assert_eq!(Jump::read("acme/pump-7"), device);
        assert_eq!(Jump::read("a/\"><img>"), to("/console/devices/a/%22%3E%3Cimg%3E"));
        assert_eq!(Jump::read("climate-7"), Jump::Name("climate-7".into()));
        assert_eq!(Jump::read("silent:1h a*"), to("/console/devices?search=silent%3A1h+a*"));
        let search = "reason:TOKEN_INVALID tenant:a";
        assert_eq!(
            Jump::read(search),
            to("/console/quarantine?search=reason%3ATOKEN_INVALID+tenant%3Aa")
        );
        let search = "outcome:refused tenant:a reason:TOKEN_INVALID";
        assert_eq!(
            Jump::read(search),
            to("/console/live?search=outcome%3Arefused+tenant%3Aa+reason%3ATOKEN_INVALID")
        );
        assert_eq!(Jump::read("ends:<30d"), to("/console/certificates?search=ends%3A%3C30d"));
    }
}
