//! `/console/devices/{tenant}/{device}`: why this device works or does not.
//!
//! Each part of the page is a call of the API of its own; a part that cannot be read says why. What changes the device is in [`actions`], its site and metadata in [`edit`].

mod actions;
mod charts;
mod edit;
mod explain_form;
mod timeline;
mod twin;
mod why;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use self::charts::DeviceCharts;
use self::twin::TwinMember;
use self::why::WhySentence;
use super::audit::summary;
use super::device_address::{Badge, DEVICES, DeviceAddress, status_badge};
use super::filters;
use super::frame::{Frame, NavPage, shell_quoted};
use super::markup::Markup;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::clock;
use crate::domain::device::DeviceStatus;
use crate::http::views::audit::AuditEntryView;
use crate::http::{
    ApiFault, CertificateView, CommandView, DeviceDetailView, EventView, PageApi, PageOf,
    ShadowView, SignedIn, TelemetryView,
};

/// Rows of each list on the page.
const SHOWN: &str = "8";

/// Entries of the audit log on the page.
const AUDITED: &str = "10";

/// Most characters of a message's metrics on the page.
const METRICS_CHARS: usize = 160;

/// Most characters of the metadata on the page.
const METADATA_CHARS: usize = 4_000;

/// A part of the page, or why it is missing.
type Part<T> = Result<T, ApiFault>;

/// The page.
#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    base: String,
    status: Badge,
    why: Vec<WhySentence>,
    charts: DeviceCharts,
    twin: Part<Vec<TwinMember>>,
    parts: DeviceParts,
    timeline: Markup,
    metadata: String,
    quarantine: String,
    certificates: String,
    audit: String,
}

/// What the API says of a device.
struct DeviceParts {
    device: DeviceDetailView,
    shadow: Part<ShadowView>,
    certificates: Part<PageOf<CertificateView>>,
    commands: Part<PageOf<CommandView>>,
    events: Part<PageOf<EventView>>,
    messages: Part<PageOf<TelemetryView>>,
    audit: Part<PageOf<AuditEntryView>>,
}

/// The pages of this file.
pub(crate) fn routes() -> Router<ConsoleState> {
    let below = |rest: &str| format!("{DEVICES}/{{tenant}}/{{device}}{rest}");
    Router::new()
        .route(&below(""), get(show))
        .route(&below("/plot"), get(charts::plot))
        .route(&below("/edit"), get(edit::form).post(edit::save))
        .route(&below("/explain"), get(explain_form::form).post(explain_form::explain))
        .route(&below("/status"), post(actions::set_status))
        .route(&below("/token"), post(actions::make_token))
        .route(&below("/remove"), post(actions::remove))
        .route(&below("/desired"), post(actions::patch_desired))
        .route(&below("/commands"), post(actions::queue))
        .route(&below("/cancel"), post(actions::cancel))
}

async fn show(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
) -> Result<WebPage<DevicePage>, PageError> {
    let parts = Box::pin(read(&console.api, &visit.person, &address)).await?;
    let rows = parts.messages.as_ref().map_or(&[][..], |page| &page.items);
    let charts = Box::pin(charts::read(&console.api, &visit, &address, rows)).await;
    let twin = parts.shadow.as_ref().map(twin::members).map_err(Clone::clone);
    let now = clock::now().to_utc();
    let certificates = parts.certificates.as_ref().map_or(&[][..], |page| &page.items);
    let events = parts.events.as_ref().map_or(&[][..], |page| &page.items);
    let search = address.search();
    let listed = |path: &str, more: &str| {
        PageQuery::from([("search", format!("{search}{more}").as_str())]).href(path)
    };
    let quarantine = listed("/console/quarantine", "");
    let title = format!("{} / {}", address.tenant, address.device);
    Ok(WebPage(DevicePage {
        frame: frame(&visit, &title, &address, charts.has_plots()),
        base: address.path(),
        status: status_badge(parts.device.device.status),
        why: why::sentences(&parts.device, certificates, events, &quarantine, now),
        timeline: timeline::draw(certificates, now),
        metadata: metadata(&parts.device),
        certificates: listed("/console/certificates", ""),
        audit: listed("/console/audit", ""),
        quarantine,
        charts,
        twin,
        parts,
    }))
}

async fn read(
    api: &PageApi,
    person: &SignedIn,
    address: &DeviceAddress,
) -> Result<DeviceParts, PageError> {
    let target = address.api();
    let of = address.filter();
    let paths = [
        format!("{target}/shadow"),
        format!("/api/v1/certificates?{of}&limit=20"),
        format!("{target}/commands?limit={SHOWN}"),
        format!("/api/v1/quarantine?{of}&since=24h&limit=100"),
        format!("{target}/telemetry?since=7d&newest_first=true&limit={SHOWN}"),
        audit_target(address),
    ];
    let (device, shadow, certificates, commands, events, messages, audit) = tokio::join!(
        api.get(person, &target),
        part(api, person, &paths[0]),
        part(api, person, &paths[1]),
        part(api, person, &paths[2]),
        part(api, person, &paths[3]),
        part(api, person, &paths[4]),
        part(api, person, &paths[5]),
    );
    let device = device.map_err(|fault| missing(fault, person, address))?;
    Ok(DeviceParts { device, shadow, certificates, commands, events, messages, audit })
}

/// The last entries of the audit log about the device.
fn audit_target(address: &DeviceAddress) -> String {
    let search = address.search();
    PageQuery::from([("search", search.as_str()), ("limit", AUDITED)]).href("/api/v1/audit")
}

async fn part<T: DeserializeOwned>(api: &PageApi, person: &SignedIn, target: &str) -> Part<T> {
    api.get(person, target).await
}

/// The metadata in lines; a long text is cut.
fn metadata(device: &DeviceDetailView) -> String {
    let text = serde_json::to_string_pretty(&device.metadata).unwrap_or_default();
    filters::shortened(&text, METADATA_CHARS).into_owned()
}

/// A device that does not exist can be searched and, by an admin, added.
fn missing(fault: ApiFault, person: &SignedIn, address: &DeviceAddress) -> PageError {
    let is_missing = fault.status == 404;
    let mut error = PageError::from(fault);
    if !is_missing {
        return error;
    }
    error.detail = format!("Tenant {} has no device {}.", address.tenant, address.device);
    let search = PageQuery::from([("search", address.device.as_str())]).href(DEVICES);
    let error = error.or("Search devices", search);
    if person.role < crate::domain::caller::CallerRole::Admin {
        return error;
    }
    let names = [("tenant", address.tenant.as_str()), ("device", address.device.as_str())];
    error.or("Add this device", PageQuery::from(names).href("/console/devices/new"))
}

fn frame(visit: &Visit, title: &str, address: &DeviceAddress, has_plots: bool) -> Frame {
    let target = address.api();
    let names = address.words();
    let device = format!("{}/{}", address.tenant, address.device);
    let frame = visit
        .frame(title, NavPage::Devices)
        .same_by(&format!("device show {names}"), "GET", &target)
        .same_by(&format!("shadow show {names}"), "GET", &format!("{target}/shadow"))
        .same_by(
            &format!("quarantine list --device {} --since 24h", shell_quoted(&device)),
            "GET",
            &format!("/api/v1/quarantine?{}&since=24h", address.filter()),
        )
        .same_by(
            &format!("audit list --search {}", shell_quoted(&address.search())),
            "GET",
            &audit_target(address),
        );
    if has_plots { frame.with_plots() } else { frame }
}

// === impl DevicePage ===

impl DevicePage {
    fn is_active(&self) -> bool {
        self.parts.device.device.status == DeviceStatus::Active
    }

    /// The state of a device is written a few seconds late: a message that is shown may be newer.
    fn last_heard(&self) -> Option<DateTime<Utc>> {
        let rows = self.parts.messages.as_ref().map_or(&[][..], |page| &page.items);
        rows.iter().map(|row| row.received_at).chain(self.parts.device.last_seen_at).max()
    }

    /// The metrics of a message, shortened.
    #[expect(clippy::unused_self, reason = "the template calls it as a method")]
    fn metrics<'a>(&self, row: &'a TelemetryView) -> std::borrow::Cow<'a, str> {
        filters::shortened(row.metrics.get(), METRICS_CHARS)
    }

    /// Whether a command can still be cancelled.
    #[expect(clippy::unused_self, reason = "the template calls it as a method")]
    fn is_open(&self, command: &CommandView) -> bool {
        command.finished_at.is_none()
    }

    /// What an entry of the audit log says of the change, in one line.
    #[expect(clippy::unused_self, reason = "the template calls it as a method")]
    fn change(&self, entry: &AuditEntryView) -> String {
        summary(&entry.detail)
    }

    /// The number of refused messages on the page.
    fn refused(&self) -> String {
        match self.parts.events.as_ref().map(|page| (page.items.len(), page.next.is_some())) {
            Ok((number, true)) => format!("more than {number}"),
            Ok((number, false)) => number.to_string(),
            Err(_) => "–".to_owned(),
        }
    }
}
