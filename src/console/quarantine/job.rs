//! Dry run and replay on the quarantine page: the panel of a job with its progress, and the actions that
//! order, start and stop it.
//!
//! The panel updates itself while the job runs; without a script, a reload shows the same.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::terms::PATH;
use crate::console::device_address::DeviceAddress;
use crate::console::filters::{self, thousands};
use crate::console::form::PageForm;
use crate::console::frame::counted;
use crate::console::markup::Markup;
use crate::console::notice::{Notice, Redirected};
use crate::console::page::{PageError, WebPage};
use crate::console::query::{PageQuery, segment};
use crate::console::state::ConsoleState;
use crate::console::svg::{Share, stack_bar};
use crate::console::visit::Visit;
use crate::http::views::replays::{ReplayJobView, ReplayResultView};
use crate::http::{ApiFault, SignedIn};

/// The header that tells the script to stop asking.
const LIVE: &str = "x-sluice-live";

/// A job as the page shows it.
#[derive(Clone, Debug)]
pub(crate) struct JobPanel {
    pub job: ReplayJobView,
    pub csrf: String,
    pub may_operate: bool,
    /// The results as a bar with its legend.
    pub chart: Markup,
    /// The address of the panel alone.
    pub href: String,
    /// The address of the page with this panel.
    pub page_href: String,
}

/// The panel alone.
#[derive(Template)]
#[template(path = "parts/quarantine_job.html")]
pub(crate) struct JobPart {
    panel: JobPanel,
}

/// What the form of the dry run sends.
#[derive(Debug, Deserialize)]
pub(crate) struct OrderForm {
    search: String,
    /// The search of the page, without what the page adds by itself.
    #[serde(default)]
    text: String,
    #[serde(default)]
    shown: String,
}

/// `POST /console/quarantine/dry-run`.
pub(crate) async fn order(
    State(console): State<ConsoleState>,
    visit: Visit,
    PageForm(form): PageForm<OrderForm>,
) -> Redirected {
    let state = PageQuery::from([("search", &*form.text), ("shown", &*form.shown)]);
    let body = order_body(&visit.person, &form.search);
    let ordered: Result<ReplayJobView, ApiFault> =
        console.api.send(&visit.person, "POST", "/api/v1/quarantine/replays", Some(&body)).await;
    match ordered {
        Ok(job) => Redirected::to(state.with("replay", &job.id.to_string()).href(PATH)),
        Err(fault) => Redirected::to(state.href(PATH)).with(Notice::failed(fault.detail)),
    }
}

/// `GET /console/quarantine/replays/{id}`: the panel for the script, or the page with it.
pub(crate) async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let panel = JobPanel::read(&console, &visit, &id).await?;
    if !visit.is_partial() {
        return Ok(Redirected::to(panel.page_href).into_response());
    }
    let is_running = panel.is_running();
    let mut response = WebPage(JobPart { panel }).into_response();
    if !is_running {
        response.headers_mut().insert(LIVE, HeaderValue::from_static("end"));
    }
    Ok(response)
}

/// `POST /console/quarantine/replays/{id}/start`.
pub(crate) async fn start(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Redirected {
    act(&console, &visit, &id, "start").await
}

/// `POST /console/quarantine/replays/{id}/stop`.
pub(crate) async fn stop(
    State(console): State<ConsoleState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Redirected {
    act(&console, &visit, &id, "stop").await
}

/// The body of the call that orders a dry run of a search.
pub(crate) fn order_body(person: &SignedIn, search: &str) -> Value {
    let mut body = Map::new();
    if search.is_empty() && person.tenant.is_none() {
        body.insert("all".to_owned(), json!(true));
    } else {
        body.insert("search".to_owned(), json!(search));
    }
    // A person of one tenant names it in each change.
    if let Some(tenant) = &person.tenant {
        body.insert("tenant".to_owned(), json!(tenant.as_str()));
    }
    Value::Object(body)
}

// === impl JobPanel ===

impl JobPanel {
    /// Reads a job.
    pub(crate) async fn read(
        console: &ConsoleState,
        visit: &Visit,
        id: &str,
    ) -> Result<Self, PageError> {
        let target = format!("/api/v1/quarantine/replays/{}", segment(id));
        let job: ReplayJobView = console.api.get(&visit.person, &target).await?;
        Ok(Self::new(visit, job))
    }

    /// Orders the dry run of the messages of a device that was registered.
    pub(crate) async fn of_device(
        console: &ConsoleState,
        visit: &Visit,
        address: &DeviceAddress,
    ) -> Result<Self, ApiFault> {
        let search = format!("{} replayed:no", address.search());
        let body = order_body(&visit.person, &search);
        let job: ReplayJobView = console
            .api
            .send(&visit.person, "POST", "/api/v1/quarantine/replays", Some(&body))
            .await?;
        Ok(Self::new(visit, job))
    }

    fn new(visit: &Visit, job: ReplayJobView) -> Self {
        Self {
            csrf: visit.person.csrf.clone(),
            may_operate: visit.person.role >= crate::domain::caller::CallerRole::Operator,
            chart: chart(&job),
            href: format!("/console/quarantine/replays/{}", job.id),
            page_href: page_href(visit.query(), &job),
            job,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.job.status == "RUNNING"
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.job.stage == "REPLAY"
    }

    /// Whether the dry run is done, so that its replay can begin.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_replay() && self.job.status == "DONE"
    }

    pub(crate) fn title(&self) -> String {
        let stage = if self.is_replay() { "Replay" } else { "Dry run" };
        let how_far = match self.job.status.as_str() {
            "RUNNING" => "running",
            "STOPPED" => "stopped",
            _ => "done",
        };
        format!("{stage} {how_far}")
    }

    /// "431 of 612 messages".
    pub(crate) fn progress(&self) -> String {
        match self.job.total {
            Some(total) => format!(
                "{} of {}",
                thousands(i128::from(self.job.done)),
                counted(total, "message", "messages")
            ),
            None => "counting the messages".to_owned(),
        }
    }

    /// The value and the end of the progress bar.
    pub(crate) fn total(&self) -> u64 {
        self.job.total.unwrap_or(0).max(self.job.done).max(1)
    }

    /// "Replay these 610".
    pub(crate) fn act(&self) -> String {
        format!("Replay these {}", thousands(i128::from(self.job.storable())))
    }

    pub(crate) fn storable(&self) -> u64 {
        self.job.storable()
    }

    /// Whether messages may wait although no daemon works on the job.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_running() && !self.job.is_worked_on
    }
}

// === private helpers ===

async fn act(console: &ConsoleState, visit: &Visit, id: &str, action: &str) -> Redirected {
    let target = format!("/api/v1/quarantine/replays/{}/{action}", segment(id));
    let done: Result<ReplayJobView, ApiFault> =
        console.api.send(&visit.person, "POST", &target, None::<&Value>).await;
    match done {
        Ok(job) => Redirected::to(page_href(visit.query(), &job)),
        Err(fault) => {
            let page = PageQuery::from([("replay", id)]).href(PATH);
            Redirected::to(page).with(Notice::failed(fault.detail))
        }
    }
}

/// The page with the panel of a job: the search that the address has, or the job's own.
fn page_href(query: &PageQuery, job: &ReplayJobView) -> String {
    let own = job.search.replace("replayed:no", "");
    let search = query.get("search").unwrap_or(own.trim());
    let shown = query.get("shown").unwrap_or_default();
    let id = job.id.to_string();
    PageQuery::from([("search", search), ("shown", shown), ("replay", &*id)]).href(PATH)
}

fn chart(job: &ReplayJobView) -> Markup {
    let shares: Vec<Share> = job.results.iter().map(share).collect();
    if shares.is_empty() {
        return Markup::default();
    }
    stack_bar("Results", &shares)
}

/// A result with a link to one of its messages.
fn share(row: &ReplayResultView) -> Share {
    let class = match row.result.as_str() {
        "would be stored" | "stored" => "ok",
        "refused" => "bad",
        "left out" => "warn",
        _ => "off",
    };
    let label = match &row.reason {
        Some(reason) => format!("{} again: {reason}", row.result),
        None => row.result.clone(),
    };
    let href = Some(format!("{PATH}/{}", row.example));
    Share { label, value: row.count, class, href }
}
