//! `/console/live`: the decisions about messages as the daemon makes them, the newest on top.
//!
//! The rows of the page are the recent decisions that the API keeps; the script adds those of the
//! stream. Without a script the page is a list: load it again for more.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};

use super::filters;
use super::frame::{Frame, shell_quoted};
use super::list::FilterLink;
use super::markup::Markup;
use super::navigation::NavPage;
use super::page::{PageError, WebPage};
use super::query::{PageQuery, segment};
use super::state::ConsoleState;
use super::visit::Visit;
use crate::domain::live::{LIVE_KEYS, LiveOutcome};
use crate::domain::search::{Search, SearchKey, SearchTerm, SearchValue};
use crate::http::{LiveLineView, RecentDecisionsView};

const PATH: &str = "/console/live";
const STREAM: &str = "/api/v1/live";
const RECENT: &str = "/api/v1/live/recent";

/// The page.
#[derive(Template)]
#[template(path = "live.html")]
pub(crate) struct LivePage {
    frame: Frame,
    text: String,
    /// Why the search cannot be read.
    fault: Option<String>,
    outcomes: Vec<FilterLink>,
    /// The address of the stream.
    stream: String,
    since: Option<DateTime<Utc>>,
    rows: Vec<LiveRow>,
    /// What does not work, in one sentence.
    troubles: String,
    /// The badge of each outcome, for the rows of the script.
    badges: Vec<(&'static str, Markup)>,
    hides_payloads: bool,
}

/// A row.
#[derive(Debug)]
struct LiveRow {
    at: String,
    clock: String,
    badge: Markup,
    /// Name and address of the device's page.
    device: Option<(String, String)>,
    /// Reason and address of such messages in the quarantine.
    reason: Option<(String, String)>,
    line: LiveLineView,
}

/// The pages.
pub(super) fn routes() -> Router<ConsoleState> {
    Router::new().route(PATH, get(show))
}

// === impl LivePage ===

impl LivePage {
    /// The keys of the search, for its help.
    const fn keys() -> &'static [SearchKey] {
        LIVE_KEYS.keys
    }
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<LivePage>, PageError> {
    let query = visit.query().only(&["search"]);
    let text = query.get("search").unwrap_or_default().to_owned();
    let answer = console.api.get::<RecentDecisionsView>(&visit.person, &query.href(RECENT)).await;
    let (recent, fault) = match answer {
        Ok(recent) => (Some(recent), None),
        Err(fault) => match fault.errors.iter().find(|error| error.field == "search") {
            Some(error) => (None, Some(error.detail.clone())),
            None => return Err(fault.into()),
        },
    };
    let command = format!("tail --search {}", shell_quoted(&text));
    let command = if text.is_empty() { "tail" } else { &command };
    let frame = visit
        .frame("Live", NavPage::Live)
        .searching(&text, PATH)
        .same_by(command, "GET", &query.href(STREAM))
        .same_by("", "GET", &query.href(RECENT))
        .with_stream();
    let search = Search::read(&text, &LIVE_KEYS).unwrap_or_default();
    let since = recent.as_ref().map(|recent| recent.since);
    let troubles = recent.as_ref().map(troubles).unwrap_or_default();
    let items = recent.map(|recent| recent.items).unwrap_or_default();
    Ok(WebPage(LivePage {
        frame,
        fault,
        outcomes: outcomes(&search),
        stream: query.href(STREAM),
        since,
        troubles,
        hides_payloads: items.iter().any(|line| line.payload.is_none()),
        rows: items.into_iter().map(LiveRow::new).collect(),
        badges: LiveOutcome::ALL.map(|one| (one.label(), badge(one.label()))).to_vec(),
        text,
    }))
}

/// Links that set the outcome; the one that is set removes it.
fn outcomes(search: &Search) -> Vec<FilterLink> {
    let set = search.only("outcome");
    let link = |outcome: LiveOutcome| {
        let label = outcome.label();
        let is_on = set.as_deref() == Some(label);
        let rest = search.without("outcome");
        let value = SearchValue::Word(label);
        let term = SearchTerm { key: "outcome", value, is_negated: false };
        let other = if is_on { rest } else { rest.with(term) };
        let href = PageQuery::from([("search", other.to_string().as_str())]).href(PATH);
        FilterLink { label: label.to_owned(), href, is_on, count: None }
    };
    LiveOutcome::ALL.map(link).to_vec()
}

fn troubles(recent: &RecentDecisionsView) -> String {
    let texts = recent.troubles.iter().map(|(component, why)| format!("{component}: {why}"));
    texts.collect::<Vec<_>>().join("; ")
}

fn badge(outcome: &str) -> Markup {
    let tone = match outcome {
        "accepted" => "ok",
        "refused" => "bad",
        "duplicate" => "info",
        _ => "off",
    };
    filters::badge_of(tone, outcome)
}

// === impl LiveRow ===

impl LiveRow {
    fn new(line: LiveLineView) -> Self {
        let device = line.tenant_id.as_deref().zip(line.device_id.as_deref());
        let of_device = device.map(|(tenant, device)| format!(" tenant:{tenant} device:{device}"));
        let refused = |reason: &String| {
            let search = format!("reason:{reason}{}", of_device.unwrap_or_default());
            PageQuery::from([("search", search.as_str())]).href("/console/quarantine")
        };
        Self {
            at: line.received_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            clock: line.received_at.format("%H:%M:%S%.3f").to_string(),
            badge: badge(&line.outcome),
            device: device.map(|(tenant, device)| {
                let href = format!("/console/devices/{}/{}", segment(tenant), segment(device));
                (format!("{tenant}/{device}"), href)
            }),
            reason: line.reason.as_ref().map(|reason| (reason.clone(), refused(reason))),
            line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_sets_the_outcome_and_keeps_the_rest() {
        let search = Search::read("tenant:acme outcome:refused", &LIVE_KEYS).unwrap();
        let links = outcomes(&search);
        let on: Vec<_> = links.iter().map(|link| link.is_on).collect();
        assert_eq!(on, [false, true, false, false]);
        assert_eq!(links[1].href, "/console/live?search=tenant%3Aacme");
        assert_eq!(links[0].href, "/console/live?search=tenant%3Aacme+outcome%3Aaccepted");
    }
}
