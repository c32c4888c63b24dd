//! `/console/audit`: who changed what. Each author, action and subject narrows the list by a click,
//! and leads to what was changed.
//!
//! It only reads.

use std::fmt::Write as _;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chrono::SecondsFormat;
use serde_json::Value;

use super::csv::CsvText;
use super::device_address::device_path;
use super::filters;
use super::frame::{Frame, shell_quoted};
use super::list::{FilterLink, Pager, ROWS};
use super::navigation::NavPage;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::domain::search::{Search, SearchKey};
use crate::http::PageOf;
use crate::http::views::audit::AuditEntryView;
use crate::store::reads::audit::AUDIT_KEYS;

const PATH: &str = "/console/audit";
const API: &str = "/api/v1/audit";

/// Rows of one call for the file.
const CSV_CALL_ROWS: &str = "1000";

/// The most calls for the file: it has at most 10,000 rows.
const CSV_CALLS: usize = 10;

/// The most characters of a change in its row; the whole is below it.
const SUMMARY_CHARS: usize = 100;

/// The most items of a list that are shown in the row.
const ITEMS_MAX: usize = 3;

/// The periods above the list.
const PERIODS: [(&str, &str); 4] =
    [("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")];

/// The page.
#[derive(Template)]
#[template(path = "audit.html")]
pub(crate) struct AuditPage {
    frame: Frame,
    text: String,
    /// Why the search cannot be read.
    fault: Option<String>,
    periods: Vec<FilterLink>,
    entries: Vec<AuditLine>,
    pager: Pager,
    csv_href: String,
}

/// A row of the list.
#[derive(Debug)]
struct AuditLine {
    entry: AuditEntryView,
    /// The list of this author, of this action.
    actor_href: String,
    action_href: String,
    /// What was changed, and where it is.
    subject: Option<(String, String)>,
    summary: String,
    /// The change as JSON; empty: the entry says nothing more.
    detail: String,
}

/// The pages.
pub(super) fn routes() -> Router<ConsoleState> {
    Router::new().route(PATH, get(show)).route("/console/audit.csv", get(download))
}

// === impl AuditPage ===

impl AuditPage {
    /// The keys of the search, for its help.
    const fn keys() -> &'static [SearchKey] {
        AUDIT_KEYS.keys
    }
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<AuditPage>, PageError> {
    let query = visit.query().only(&["search", "cursor"]);
    let text = query.get("search").unwrap_or_default().to_owned();
    let mut target = query.with("limit", &ROWS.to_string());
    if let Some(cursor) = query.get("cursor") {
        target = target.with("cursor", cursor);
    }
    let target = target.href(API);
    let answer = console.api.get::<PageOf<AuditEntryView>>(&visit.person, &target).await;
    let (page, fault) = match answer {
        Ok(page) => (page, None),
        Err(fault) => match fault.errors.iter().find(|error| error.field == "search") {
            Some(error) => (PageOf { items: Vec::new(), next: None }, Some(error.detail.clone())),
            None => return Err(fault.into()),
        },
    };
    let search = Search::read(&text, &AUDIT_KEYS).unwrap_or_default();
    let command = format!("audit list --search {}", shell_quoted(&text));
    let frame = visit.frame("Audit", NavPage::Audit).searching(&text, PATH).same_by(
        if text.is_empty() { "audit list" } else { &command },
        "GET",
        &target,
    );
    let pager = Pager::new(PATH, &query, page.items.len(), page.next.as_deref());
    Ok(WebPage(AuditPage {
        frame,
        fault,
        periods: periods(&search),
        entries: page.items.into_iter().map(|entry| AuditLine::new(entry, &search)).collect(),
        pager,
        csv_href: query.without("cursor").href("/console/audit.csv"),
        text,
    }))
}

/// The same rows as a file, which ends after [`CSV_CALLS`] calls.
async fn download(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Response, PageError> {
    let query = visit.query().only(&["search"]).with("limit", CSV_CALL_ROWS);
    let head = ["id", "at", "actor", "action", "tenant", "device", "detail"];
    let (mut file, mut next) = (CsvText::new(&head), None::<String>);
    for _ in 0..CSV_CALLS {
        let target = next.as_deref().map_or_else(|| query.clone(), |at| query.with("cursor", at));
        let page: PageOf<AuditEntryView> =
            console.api.get(&visit.person, &target.href(API)).await?;
        for entry in &page.items {
            file.row([
                entry.id.to_string().as_str(),
                &entry.at.to_rfc3339_opts(SecondsFormat::Micros, true),
                &entry.actor,
                &entry.action,
                entry.tenant_id.as_deref().unwrap_or_default(),
                entry.device_id.as_deref().unwrap_or_default(),
                &entry.detail.to_string(),
            ]);
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    Ok(file.into_answer("audit.csv"))
}

/// Links that set the beginning of the list; the one that is set removes it.
fn periods(search: &Search) -> Vec<FilterLink> {
    let set = search.only("since");
    let link = |(span, label): &(&str, &str)| {
        let is_on = set.as_deref() == Some(span);
        let rest = search.without("since");
        let text = if is_on { rest.to_string() } else { format!("{rest} since:{span}") };
        FilterLink { label: (*label).to_owned(), href: href(text.trim()), is_on, count: None }
    };
    PERIODS.iter().map(link).collect()
}

fn href(search: &str) -> String {
    PageQuery::from([("search", search)]).href(PATH)
}

/// The list of only this value of a key.
fn narrowed(search: &Search, key: &'static str, value: &str) -> String {
    href(&search.bound_to(key, value).to_string())
}

/// The change in one line: `from: ACTIVE, to: INACTIVE`.
pub(crate) fn summary(detail: &Value) -> String {
    let mut text = String::new();
    for (name, value) in detail.as_object().into_iter().flatten() {
        let comma = if text.is_empty() { "" } else { ", " };
        let value = short(value);
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{name}: {value}");
    }
    filters::shortened(&text, SUMMARY_CHARS).into_owned()
}

/// A value in a few words: the number of many items, and only the fields that say something.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() > ITEMS_MAX => format!("{} items", items.len()),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !is_void(value));
            let said: Vec<String> =
                said.map(|(name, value)| format!("{name} {}", short(value))).collect();
            if said.is_empty() { value.to_string() } else { said.join(", ") }
        }
        _ => value.to_string(),
    }
}

fn is_void(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

// === impl AuditLine ===

impl AuditLine {
    fn new(entry: AuditEntryView, search: &Search) -> Self {
        let is_empty = entry.detail.as_object().is_some_and(serde_json::Map::is_empty);
        let detail = serde_json::to_string_pretty(&entry.detail).unwrap_or_default();
        Self {
            actor_href: narrowed(search, "actor", &entry.actor),
            action_href: narrowed(search, "action", &entry.action),
            subject: subject(&entry, search),
            summary: summary(&entry.detail),
            detail: if is_empty { String::new() } else { detail },
            entry,
        }
    }
}

/// The device or the tenant that was changed. A removed device leads to the entries about it.
fn subject(entry: &AuditEntryView, search: &Search) -> Option<(String, String)> {
    let tenant = entry.tenant_id.as_deref()?;
    let Some(device) = entry.device_id.as_deref() else {
        return Some((tenant.to_owned(), narrowed(search, "tenant", tenant)));
    };
    let label = format!("{tenant}/{device}");
    if entry.action == "device.remove" {
        let of_tenant = search.bound_to("tenant", tenant);
        return Some((label, narrowed(&of_tenant, "device", device)));
    }
    Some((label, device_path(tenant, device)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Search {
        Search::read(text, &AUDIT_KEYS).unwrap()
    }

    #[test]
    fn a_click_narrows_the_list_and_keeps_the_rest() {
        let search = read("actor:cli:* since:1h pump-1");
        let of_alice = PageQuery::parse(
            narrowed(&search, "actor", "console:alice").split_once('?').unwrap().1,
        );
        assert_eq!(of_alice.get("search"), Some("since:1h device:pump-1 actor:console:alice"));
        let links = periods(&search);
        assert!(links[0].is_on && !links[1].is_on);
        assert_eq!(links[0].href, href("actor:cli:* device:pump-1"));
        assert_eq!(links[2].href, href("actor:cli:* device:pump-1 since:7d"));
    }

    #[test]
    fn a_change_is_one_short_line() {
        assert_eq!(summary(&json!({})), "");
        assert_eq!(summary(&json!({ "from": "A", "to": 5 })), "from: A, to: 5");
        let many = json!({ "events": ["1", "2", "3", "4"] });
        assert_eq!(summary(&many), "events: 4 items");
        let job = json!({ "job": { "search": "tenant:a", "ids": [], "link": null } });
        assert_eq!(summary(&job), "job: search tenant:a");
        assert_eq!(summary(&json!({ "metadata": {} })), "metadata: {}");
        assert_eq!(summary(&json!({ "x": "é".repeat(500) })).chars().count(), SUMMARY_CHARS + 1);
    }
}
