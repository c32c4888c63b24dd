//! `/console/quarantine`: what is refused, since when, by whom, and what fixes it.
//!
//! The list never reloads by itself: a bar says how many newer messages there are. In reading order:
//! [`terms`] is the search of the page, [`board`] its counts, [`fixes`] what helps, [`job`] dry run and
//! replay, [`actions`] the other changes, [`message`] one message, [`payload`] what it contains,
//! [`export`] the rows as a file.

mod actions;
mod board;
mod export;
pub(crate) mod fixes;
pub(crate) mod job;
mod message;
mod payload;
mod terms;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::filters;
use super::frame::{Frame, NavPage, shell_quoted};
use super::list::{Pager, ROWS};
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::clock;
use crate::domain::search::SearchKey;
use crate::http::views::events::EventView;
use crate::http::views::facets::FacetsView;
use crate::http::views::replays::ReplayJobView;
use crate::http::{ApiFault, PageOf, SignedIn};
use crate::quarantine::search::QUARANTINE_KEYS;
use board::FacetBoard;
use job::JobPanel;
use terms::{PATH, QuarantineTerms};

/// Replay jobs that the page lists.
const JOBS: u32 = 5;

/// Newer messages that are counted.
const NEWER_MAX: usize = 100;

/// The page.
#[derive(Template)]
#[template(path = "quarantine.html")]
pub(crate) struct QuarantinePage {
    frame: Frame,
    terms: QuarantineTerms,
    /// Why the search cannot be read.
    fault: Option<String>,
    board: Option<FacetBoard>,
    rows: Vec<EventRowView>,
    pager: Pager,
    panel: Option<JobPanel>,
    jobs: Vec<ReplayJobView>,
    /// The address that counts newer messages.
    newer_href: String,
    /// The address of the page that asks before it discards.
    discard_href: String,
    /// The rows as a file.
    csv_href: String,
}

/// A row of the list.
#[derive(Clone, Debug)]
struct EventRowView {
    event: EventView,
    href: String,
    /// The messages of this device alone.
    sender_href: Option<String>,
}

/// The bar above the list: how many messages are newer than its first row.
#[derive(Template)]
#[template(path = "parts/quarantine_newer.html")]
pub(crate) struct NewerBar {
    label: String,
    href: String,
}

/// The routes of the quarantine.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route(PATH, get(show))
        .route(export::PATH, get(export::file))
        .route("/console/quarantine/newer", get(newer))
        .route("/console/quarantine/dry-run", post(job::order))
        .route("/console/quarantine/replays/{id}", get(job::show))
        .route("/console/quarantine/replays/{id}/start", post(job::start))
        .route("/console/quarantine/replays/{id}/stop", post(job::stop))
        .route("/console/quarantine/devices", post(actions::add_devices))
        .route("/console/quarantine/discard", get(actions::ask_discard).post(actions::discard))
        .route("/console/quarantine/{id}", get(message::show))
        .route("/console/quarantine/{id}/replay", post(message::replay))
        .route("/console/quarantine/{id}/discard", post(message::discard))
}

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<QuarantinePage>, PageError> {
    let (terms, person) = (QuarantineTerms::of(visit.query()), &visit.person);
    let search = terms.effective();
    let cursor = visit.query().get("cursor").unwrap_or_default();
    let rows_wanted = ROWS.to_string();
    let list_target =
        PageQuery::from([("search", &*search), ("limit", &*rows_wanted), ("cursor", cursor)])
            .href("/api/v1/quarantine");
    let facets_target = PageQuery::from([("search", &*search)]).href("/api/v1/quarantine/facets");
    let jobs_target = format!("/api/v1/quarantine/replays?limit={JOBS}");
    let (list, facets, jobs) = tokio::join!(
        console.api.get::<PageOf<EventView>>(person, &list_target),
        console.api.get::<FacetsView>(person, &facets_target),
        console.api.get::<PageOf<ReplayJobView>>(person, &jobs_target),
    );
    let (list, fault) = readable(list)?;
    let (facets, _) = readable(facets)?;
    let jobs = jobs?.items;
    let panel = match visit.query().get("replay") {
        Some(id) => Some(JobPanel::read(&console, &visit, id).await?),
        None => None,
    };
    let (items, next) = list.map_or_else(Default::default, |page| (page.items, page.next));
    let query = terms.own_query();
    let pager = Pager::new(PATH, &query.with("cursor", cursor), items.len(), next.as_deref());
    let command = format!("quarantine list --search {}", shell_quoted(&search));
    let frame = visit.frame("Quarantine", NavPage::Quarantine).searching(&terms.text, PATH);
    let frame = frame.same_by(&command, "GET", &list_target).same_by("", "GET", &facets_target);
    let frame = with_replay(frame, person, &search);
    let newest = items.first().map_or_else(|| clock::now().to_utc(), |row| row.quarantined_at);
    let board = facets.map(|facets| FacetBoard::new(&terms, facets));
    Ok(WebPage(QuarantinePage {
        csv_href: query.href(export::PATH),
        newer_href: newer_href(&terms, newest),
        discard_href: PageQuery::from([("search", &*search)]).href("/console/quarantine/discard"),
        frame,
        fault,
        board,
        pager,
        panel,
        jobs,
        rows: items.into_iter().map(|event| EventRowView::new(event, &terms, &query)).collect(),
        terms,
    }))
}

async fn newer(State(console): State<ConsoleState>, visit: Visit) -> Result<Response, PageError> {
    let terms = QuarantineTerms::of(visit.query());
    let after = visit.query().get("after").unwrap_or_default();
    let search = format!("{} since:{after}", terms.effective());
    let limit = NEWER_MAX.to_string();
    let target =
        PageQuery::from([("search", &*search), ("limit", &*limit)]).href("/api/v1/quarantine");
    let found: PageOf<EventView> = console.api.get(&visit.person, &target).await?;
    let label = match found.items.len() {
        0 => String::new(),
        1 => "1 newer message".to_owned(),
        NEWER_MAX => format!("{NEWER_MAX} newer messages or more"),
        count => format!("{count} newer messages"),
    };
    Ok(WebPage(NewerBar { label, href: terms.own_query().href(PATH) }).into_response())
}

// === impl QuarantinePage ===

impl QuarantinePage {
    /// The keys of the search, for its help.
    const fn keys() -> &'static [SearchKey] {
        QUARANTINE_KEYS.keys
    }

    /// What the form of the dry run selects.
    fn search(&self) -> String {
        self.terms.effective()
    }
}

// === impl EventRowView ===

impl EventRowView {
    fn new(event: EventView, terms: &QuarantineTerms, query: &PageQuery) -> Self {
        let href = query.href(&format!("{PATH}/{}", event.id));
        let sender_href = event.device_id.as_deref().zip(event.tenant_id.as_deref());
        let sender_href = sender_href.map(|(device, tenant)| terms.only_of(tenant, device));
        Self { event, href, sender_href }
    }

    /// The device as `<tenant>/<device>`, or the topic.
    fn sender(&self) -> String {
        match (&self.event.tenant_id, &self.event.device_id) {
            (Some(tenant), Some(device)) => format!("{tenant}/{device}"),
            _ => filters::shortened(&self.event.topic, 60).into_owned(),
        }
    }

    fn detail(&self) -> String {
        filters::shortened(&self.event.detail, 160).into_owned()
    }
}

// === private helpers ===

/// An answer, or why the search cannot be read; any other fault is an error of the page.
fn readable<T>(answer: Result<T, ApiFault>) -> Result<(Option<T>, Option<String>), PageError> {
    match answer {
        Ok(answer) => Ok((Some(answer), None)),
        Err(fault) => match fault.errors.iter().find(|error| error.field == "search") {
            Some(error) => Ok((None, Some(error.detail.clone()))),
            None => Err(fault.into()),
        },
    }
}

/// The address that counts what is newer than this time.
fn newer_href(terms: &QuarantineTerms, newest: DateTime<Utc>) -> String {
    let after = newest + TimeDelta::microseconds(1);
    let after = after.to_rfc3339_opts(SecondsFormat::Micros, true);
    let query = terms.own_query().with("after", &after);
    query.href("/console/quarantine/newer")
}

fn with_replay(frame: Frame, person: &SignedIn, search: &str) -> Frame {
    let command = format!("quarantine replay --search {} --job --dry-run", shell_quoted(search));
    let body = job::order_body(person, search).to_string();
    frame.same_by_sending(&command, "POST", "/api/v1/quarantine/replays", &body)
}
