//! `/console/quarantine.csv`: the refused messages that a search finds, as a file, the newest first.
//!
//! It contains no payloads, and at most [`CALLS_MAX`] calls of rows. If there are more, the last line
//! says so.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};

use super::terms::QuarantineTerms;
use crate::console::csv::CsvText;
use crate::console::page::PageError;
use crate::console::query::PageQuery;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{EventView, PageOf};

pub(super) const PATH: &str = "/console/quarantine.csv";

/// The rows of one call.
const ROWS_OF_A_CALL: &str = "1000";

/// The most calls for one file: it has at most 10,000 rows.
const CALLS_MAX: usize = 10;

const HEAD: [&str; 13] = [
    "id",
    "quarantined_at",
    "received_at",
    "tenant_id",
    "device_id",
    "reason",
    "detail",
    "topic",
    "link",
    "payload_bytes",
    "replayed_at",
    "replay_attempts",
    "publisher",
];

pub(super) async fn file(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Response, PageError> {
    let search = QuarantineTerms::of(visit.query()).effective();
    let query = PageQuery::from([("search", &*search), ("limit", ROWS_OF_A_CALL)]);
    let mut text = CsvText::new(&HEAD);
    let mut cursor = Some(String::new());
    for _ in 0..CALLS_MAX {
        let Some(from) = cursor else { break };
        let target = query.with("cursor", &from).href("/api/v1/quarantine");
        let page: PageOf<EventView> = console.api.get(&visit.person, &target).await?;
        for row in &page.items {
            push(&mut text, row);
        }
        cursor = page.next;
    }
    if cursor.is_some() {
        text.row(["THE FILE IS INCOMPLETE", "narrow the search"]);
    }
    Ok(text.into_answer("quarantine.csv"))
}

// === private helpers ===

fn push(text: &mut CsvText, row: &EventView) {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let cells = [
        row.id.to_string(),
        time(row.quarantined_at),
        time(row.received_at),
        row.tenant_id.clone().unwrap_or_default(),
        row.device_id.clone().unwrap_or_default(),
        row.reason.clone(),
        row.detail.clone(),
        row.topic.clone(),
        row.link.clone().unwrap_or_default(),
        row.payload_bytes.to_string(),
        row.replayed_at.map(time).unwrap_or_default(),
        row.replay_attempts.to_string(),
        row.publisher.clone().unwrap_or_default(),
    ];
    text.row(cells.iter().map(String::as_str));
}
