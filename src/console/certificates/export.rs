//! `/console/certificates.csv`: the certificates that a search finds, as a file.
//!
//! It reads a bounded number of pages. If there are more rows, the last line says so.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};

use super::listed::{api_query, effective};
use crate::console::csv::CsvText;
use crate::console::page::PageError;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{CertificateView, CountedPage};

/// The rows of one call.
const ROWS_OF_A_CALL: &str = "1000";

/// The most calls for one file: a fleet of 100,000 devices.
const CALLS_MAX: usize = 120;

const HEAD: [&str; 13] = [
    "tenant_id",
    "device_id",
    "status",
    "common_name",
    "fingerprint_sha256",
    "serial_number",
    "issuer",
    "not_before",
    "not_after",
    "retire_at",
    "replaced_by",
    "revoked_at",
    "revoked_reason",
];

pub(super) async fn file(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<Response, PageError> {
    let query = api_query(&effective(visit.query())).with("limit", ROWS_OF_A_CALL);
    let mut text = CsvText::new(&HEAD);
    let mut cursor = Some(String::new());
    for _ in 0..CALLS_MAX {
        let Some(from) = cursor else { break };
        let target = query.with("cursor", &from).href("/api/v1/certificates");
        let page: CountedPage<CertificateView> = console.api.get(&visit.person, &target).await?;
        for row in &page.items {
            push(&mut text, row);
        }
        cursor = page.next;
    }
    if cursor.is_some() {
        text.row(["THE FILE IS INCOMPLETE", "narrow the search"]);
    }
    Ok(text.into_answer("certificates.csv"))
}

// === private helpers ===

fn push(text: &mut CsvText, row: &CertificateView) {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let cells = [
        row.tenant_id.clone(),
        row.device_id.clone(),
        row.status.to_string(),
        row.common_name.clone(),
        row.fingerprint_sha256.clone(),
        row.serial_number.clone(),
        row.issuer.clone(),
        time(row.not_before),
        time(row.not_after),
        row.retire_at.map(time).unwrap_or_default(),
        row.replaced_by.map(|id| id.to_string()).unwrap_or_default(),
        row.revoked_at.map(time).unwrap_or_default(),
        row.revoked_reason.clone().unwrap_or_default(),
    ];
    text.row(cells.iter().map(String::as_str));
}
