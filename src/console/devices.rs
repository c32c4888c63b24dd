//! `/console/devices`: who is there, who is silent. The search, its filters as form controls, and
//! the rows.
//!
//! The state is the search: a control changes a term of it and leads to its address. What is done
//! with the selected rows is in [`selected`], a new device in [`new_device`] (its refused messages in [`sender`]), the file in [`export`].

mod controls;
mod export;
mod new_device;
mod selected;
mod sender;

use std::fmt::Write as _;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};

use self::controls::DeviceControl;
pub(crate) use self::new_device::{TokenPage, read_metadata};
use super::device_address::{Badge, DEVICES, OF_API, api_target, device_path, status_badge};
use super::filters;
use super::frame::{Frame, NavPage, shell_quoted};
use super::list::{Pager, ROWS};
use super::notice::Redirected;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::clock;
use crate::domain::device_search::{DEVICE_KEYS, DeviceSearch};
use crate::domain::search::SearchKey;
use crate::http::{CountedPage, DeviceListView, FoundRows, TenantView};
use crate::store::certificates::CertificateStatus;

/// A certificate that ends sooner and has no successor is a warning, in days.
const ENDS_SOON: i64 = 30;

/// The page.
#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage {
    frame: Frame,
    search: String,
    sort: String,
    /// Why the search cannot be read.
    fault: Option<String>,
    controls: Vec<DeviceControl>,
    rows: Vec<ListedDevice>,
    found: String,
    pager: Pager,
    export: String,
    by_name: String,
    by_heard: String,
    has_devices: bool,
}

/// A row.
struct ListedDevice {
    row: DeviceListView,
    now: DateTime<Utc>,
}

/// The pages of this file.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(DEVICES, get(list))
        .route("/console/devices/filter", get(filter))
        .route("/console/devices.csv", get(export::file))
        .route("/console/devices/new", get(new_device::form).post(new_device::add))
        .route("/console/devices/selected", post(selected::act))
}

/// Puts the values of the controls into the search, and leads to its address.
async fn filter(visit: Visit) -> Redirected {
    let query = visit.query();
    let search = controls::merged(query);
    let address = PageQuery::from([("search", search.as_str())]);
    Redirected::to(address.with("sort", query.get("sort").unwrap_or_default()).href(DEVICES))
}

async fn list(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<DevicesPage>, PageError> {
    let query = visit.query().clone();
    let text = query.get("search").unwrap_or_default().to_owned();
    let read: Result<DeviceSearch, _> = text.parse();
    let target = api_target(&query).with("limit", &ROWS.to_string()).with("count", "true");
    let cursor = query.get("cursor").unwrap_or_default();
    let target = target.with("cursor", cursor).href("/api/v1/devices");
    let tenants = console.api.get(&visit.person, "/api/v1/tenants?limit=51");
    let (found, tenants) = match &read {
        Ok(_) => {
            let rows = console.api.get::<CountedPage<DeviceListView>>(&visit.person, &target);
            let (rows, tenants) = tokio::join!(rows, tenants);
            (Some(rows?), tenants)
        }
        Err(_) => (None, tenants.await),
    };
    let tenants: Vec<TenantView> =
        tenants.map(|page: crate::http::PageOf<TenantView>| page.items).unwrap_or_default();
    let search = read.as_ref().map(|search| search.0.clone()).unwrap_or_default();
    let command = command(&query);
    let frame = visit.frame("Devices", NavPage::Devices).same_by(&command, "GET", &target);
    let (rows, next, count) =
        found.map_or((Vec::new(), None, None), |page| (page.items, page.next, page.found));
    let now = clock::now().to_utc();
    let has_devices = !rows.is_empty() || !search.is_empty() || query.get("cursor").is_some();
    let sort = query.get("sort").unwrap_or("name").to_owned();
    let pager = Pager::new(DEVICES, &query, rows.len(), next.as_deref()).labelled("Next");
    Ok(WebPage(DevicesPage {
        fault: read.err().map(|error| error.to_string()),
        controls: controls::of(&search, &tenants),
        found: count.map(found_text).unwrap_or_default(),
        rows: rows.into_iter().map(|row| ListedDevice { row, now }).collect(),
        pager,
        export: api_target(&query).href("/console/devices.csv"),
        by_name: query.without("sort").href(DEVICES),
        by_heard: query.with("sort", next_sort(&sort)).href(DEVICES),
        search: text,
        sort,
        has_devices,
        frame,
    }))
}

/// The order that the head of the column "Last heard" leads to.
fn next_sort(sort: &str) -> &'static str {
    if sort == "last_heard" { "-last_heard" } else { "last_heard" }
}

/// "212 found", "more than 10,000 found".
fn found_text(found: FoundRows) -> String {
    let number = filters::thousands(i128::from(found.rows));
    if found.more { format!("more than {number} found") } else { format!("{number} found") }
}

fn command(query: &PageQuery) -> String {
    let mut command = "device list".to_owned();
    for (name, value) in query.only(&OF_API).pairs() {
        let _ = write!(command, " --{name} {}", shell_quoted(value));
    }
    command
}

// === impl DevicesPage ===

impl DevicesPage {
    /// The keys of the search, for its help.
    const fn keys() -> &'static [SearchKey] {
        DEVICE_KEYS.keys
    }
}

// === impl ListedDevice ===

impl ListedDevice {
    fn href(&self) -> String {
        device_path(&self.row.device.tenant_id, &self.row.device.device_id)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.row.device.tenant_id, self.row.device.device_id)
    }

    fn status(&self) -> Badge {
        status_badge(self.row.device.status)
    }

    fn refused_href(&self) -> String {
        let device = &self.row.device;
        let search = format!("tenant:{} device:{} since:24h", device.tenant_id, device.device_id);
        PageQuery::from([("search", search.as_str())]).href("/console/quarantine")
    }

    fn refused(&self) -> String {
        match self.row.refused_24h {
            100.. => "100 or more".to_owned(),
            number => number.to_string(),
        }
    }

    /// What there is to know of its certificate: a class, an icon and a text.
    fn certificate(&self) -> Badge {
        let end = self.row.certificate_not_after;
        let (Some(status), Some(end)) = (self.row.certificate_status, end) else {
            return ("muted", "", "none".to_owned());
        };
        match status {
            CertificateStatus::Revoked => ("bad-text", "cross", "revoked".to_owned()),
            CertificateStatus::Expired => ("warn-text", "warn", "expired".to_owned()),
            CertificateStatus::Active if end <= self.now => {
                ("warn-text", "warn", "expired".to_owned())
            }
            CertificateStatus::Active => {
                let days = (end - self.now).num_days();
                let is_replaced = self.row.certificate_replaced == Some(true);
                let text = format!("ends {}", filters::relative(self.now, end));
                if days < ENDS_SOON && !is_replaced {
                    ("warn-text", "warn", text)
                } else {
                    ("", "", text)
                }
            }
        }
    }

    /// The versions of its documents, and whether they agree.
    fn twin(&self) -> String {
        match (self.row.reported_version, self.row.desired_version) {
            (None, 0) => "–".to_owned(),
            (Some(reported), 0) => format!("v{reported}"),
            (reported, _) => {
                let reported =
                    reported.map_or_else(|| "–".to_owned(), |version| format!("v{version}"));
                if self.row.in_sync { reported } else { format!("{reported} differs") }
            }
        }
    }
}
