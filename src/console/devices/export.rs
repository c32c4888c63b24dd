//! `/console/devices.csv`: all devices that a search finds, as a file. It is sent page by page, so
//! that its size is no matter of memory.
//!
//! If a page cannot be read, the file ends with a line that says so.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use hyper::body::Frame as BodyFrame;

use crate::console::csv::{CsvText, csv_answer};
use crate::console::device_address::api_target;
use crate::console::page::PageError;
use crate::console::query::PageQuery;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{ApiFault, CountedPage, DeviceListView, PageApi, SignedIn};

/// The rows of one call.
const ROWS_OF_A_CALL: &str = "1000";

const HEAD: [&str; 13] = [
    "tenant_id",
    "device_id",
    "site_id",
    "status",
    "last_seen_at",
    "certificate_status",
    "certificate_not_after",
    "certificate_replaced",
    "refused_24h",
    "desired_version",
    "reported_version",
    "in_sync",
    "has_token",
];

type Fetched = Result<CountedPage<DeviceListView>, ApiFault>;
type Fetching = Pin<Box<dyn Future<Output = Fetched> + Send>>;

/// The pages of a list, each fetched when the one before was sent.
struct RowsOfPages {
    api: PageApi,
    person: SignedIn,
    query: PageQuery,
    /// The page that is being fetched; `None`: the end.
    fetching: Option<Fetching>,
}

pub(super) async fn file(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Response, PageError> {
    let query = api_target(visit.query()).with("limit", ROWS_OF_A_CALL);
    let mut pages = RowsOfPages { api: console.api, person: visit.person, query, fetching: None };
    let first = pages.fetch(None).await?;
    let mut text = CsvText::new(&HEAD);
    let text = pages.take(&mut text, &first);
    let rest = RestOfFile { head: Some(text), pages };
    Ok(csv_answer("devices.csv", Body::new(rest)))
}

/// The body: what has been fetched already, then the other pages.
struct RestOfFile {
    head: Option<Bytes>,
    pages: RowsOfPages,
}

// === impl RowsOfPages ===

impl RowsOfPages {
    fn fetch(&self, cursor: Option<&str>) -> Fetching {
        let query = self.query.with("cursor", cursor.unwrap_or_default());
        let target = query.href("/api/v1/devices");
        let (api, person) = (self.api.clone(), self.person.clone());
        Box::pin(async move { api.get(&person, &target).await })
    }

    /// Appends a page to `text`, and starts to fetch the next one.
    fn take(&mut self, text: &mut CsvText, page: &CountedPage<DeviceListView>) -> Bytes {
        for row in &page.items {
            push(text, row);
        }
        self.fetching = page.next.as_deref().map(|cursor| self.fetch(Some(cursor)));
        std::mem::replace(text, CsvText::more()).into_text().into()
    }
}

// === impl RestOfFile ===

impl hyper::body::Body for RestOfFile {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Self::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(BodyFrame::data(head))));
        }
        let Some(fetching) = &mut self.pages.fetching else { return Poll::Ready(None) };
        let mut text = CsvText::more();
        let bytes = match fetching.as_mut().poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(page)) => self.pages.take(&mut text, &page),
            Poll::Ready(Err(fault)) => {
                self.pages.fetching = None;
                text.row(["THE FILE IS INCOMPLETE", fault.detail.as_str()]);
                text.into_text().into()
            }
        };
        Poll::Ready(Some(Ok(BodyFrame::data(bytes))))
    }
}

// === private helpers ===

fn push(text: &mut CsvText, row: &DeviceListView) {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)).unwrap_or_default()
    };
    let device = &row.device;
    let cells = [
        device.tenant_id.clone(),
        device.device_id.clone(),
        device.site_id.clone().unwrap_or_default(),
        device.status.to_string(),
        time(row.last_seen_at),
        row.certificate_status.map(|status| status.to_string()).unwrap_or_default(),
        time(row.certificate_not_after),
        row.certificate_replaced.map(|replaced| replaced.to_string()).unwrap_or_default(),
        row.refused_24h.to_string(),
        row.desired_version.to_string(),
        row.reported_version.map(|version| version.to_string()).unwrap_or_default(),
        row.in_sync.to_string(),
        device.has_token.to_string(),
    ];
    text.row(cells.iter().map(String::as_str));
}
