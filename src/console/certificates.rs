//! `/console/certificates`: what ends, what is revoked. The weeks of the ends as bars, each a link;
//! the search; the rows.
//!
//! The state is the search; without one it shows what is ACTIVE. One certificate is in [`detail`],
//! what changes it in [`changes`], the file in [`export`], the codes of first certificates in
//! [`codes`].

mod chain;
mod changes;
mod codes;
mod detail;
mod export;
mod listed;

use std::fmt::Write as _;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use chrono::TimeDelta;

use self::listed::{CERTIFICATES, ListedCertificate, api_query, effective};
use super::filters;
use super::frame::{Frame, shell_quoted};
use super::list::{FilterLink, Pager, ROWS};
use super::markup::Markup;
use super::navigation::NavPage;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::svg::{Bar, Bars};
use super::visit::Visit;
use crate::domain::certificate_search::{CERTIFICATE_KEYS, CertificateSearch};
use crate::domain::search::SearchKey;
use crate::http::{CertificateExpiryView, CertificateView, CountedPage, FoundRows};

/// Weeks that begin within this many days are drawn as a warning where a successor is missing.
const SOON: TimeDelta = TimeDelta::days(30);

/// The page.
#[derive(Template)]
#[template(path = "certificates.html")]
struct CertificatesPage {
    frame: Frame,
    search: String,
    sort: String,
    /// Why the search cannot be read.
    fault: Option<String>,
    expiry: Option<CertificateExpiryView>,
    bars: Markup,
    links: Vec<FilterLink>,
    rows: Vec<ListedCertificate>,
    found: String,
    pager: Pager,
    export: String,
    by_name: String,
    by_end: String,
    past: String,
    due: String,
    later: String,
    is_filtered: bool,
}

/// The pages of this folder.
pub(crate) fn routes() -> Router<ConsoleState> {
    let one = "/console/certificates/{certificate}";
    Router::new()
        .route(CERTIFICATES, get(list))
        .route("/console/certificates.csv", get(export::file))
        .route("/console/enrolment-codes", get(codes::show).post(codes::make))
        .route("/console/enrolment-codes/revoke", post(codes::revoke))
        .route(one, get(detail::show))
        .route(&format!("{one}/pem"), get(detail::pem))
        .route(&format!("{one}/chain"), get(detail::chain_part))
        .route(&format!("{one}/renew"), post(changes::renew))
        .route(&format!("{one}/rotate"), post(changes::rotate))
        .route(&format!("{one}/confirm"), post(changes::confirm))
        .route(&format!("{one}/revoke"), post(changes::revoke))
}

async fn list(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<CertificatesPage>, PageError> {
    let query = effective(visit.query());
    let text = query.get("search").unwrap_or_default().to_owned();
    let read: Result<CertificateSearch, _> = text.parse();
    let search = read.as_ref().map(|search| search.0.clone()).unwrap_or_default();
    let target = api_query(&query)
        .with("limit", &ROWS.to_string())
        .with("count", "true")
        .with("cursor", query.get("cursor").unwrap_or_default())
        .href("/api/v1/certificates");
    let tenant = search.only("tenant").filter(|tenant| !tenant.contains(['*', '"']));
    let tenant = tenant.unwrap_or_default();
    let weeks = PageQuery::default().with("tenant", &tenant).href("/api/v1/certificates/expiry");
    let expiry = console.api.get::<CertificateExpiryView>(&visit.person, &weeks);
    let (found, expiry) = if read.is_ok() {
        let rows = console.api.get::<CountedPage<CertificateView>>(&visit.person, &target);
        let (rows, expiry) = tokio::join!(rows, expiry);
        (Some(rows?), expiry)
    } else {
        (None, expiry.await)
    };
    let expiry = expiry.ok();
    let (rows, next, count) =
        found.map_or((Vec::new(), None, None), |page| (page.items, page.next, page.found));
    let pager = Pager::new(CERTIFICATES, &query, rows.len(), next.as_deref()).labelled("Next");
    let terms = Terms { tenant: &tenant };
    let scope = if tenant.is_empty() { String::new() } else { format!(" --tenant {tenant}") };
    let frame = visit
        .frame("Certificates", NavPage::Certificates)
        .same_by(&command(&query), "GET", &target)
        .same_by(&format!("cert expiry{scope}"), "GET", &weeks);
    Ok(WebPage(CertificatesPage {
        frame,
        bars: expiry.as_ref().map(|expiry| terms.bars(expiry, &text)).unwrap_or_default(),
        links: terms.links(&query),
        past: terms.href("ends:past"),
        due: terms.href("ends:<30d"),
        later: expiry.as_ref().map(|expiry| terms.later(expiry)).unwrap_or_default(),
        expiry,
        fault: read.err().map(|error| error.to_string()),
        rows: rows.into_iter().map(ListedCertificate).collect(),
        found: count.map(found_text).unwrap_or_default(),
        pager,
        export: api_query(&query).href("/console/certificates.csv"),
        by_name: query.without("sort").href(CERTIFICATES),
        by_end: query.with("sort", "end").href(CERTIFICATES),
        sort: query.get("sort").unwrap_or("name").to_owned(),
        is_filtered: visit.query().get("search").is_some(),
        search: text,
    }))
}

// === impl CertificatesPage ===

impl CertificatesPage {
    /// The keys of the search, for its help.
    const fn keys() -> &'static [SearchKey] {
        CERTIFICATE_KEYS.keys
    }
}

/// Searches that the page offers, within the tenant of the search.
struct Terms<'a> {
    tenant: &'a str,
}

// === impl Terms ===

impl Terms<'_> {
    fn search(&self, terms: &str) -> String {
        let tenant =
            if self.tenant.is_empty() { String::new() } else { format!("tenant:{} ", self.tenant) };
        format!("{tenant}{terms}")
    }

    /// The ACTIVE certificates with this end, the first end on top.
    fn href(&self, ends: &str) -> String {
        let search = self.search(&format!("status:ACTIVE {ends}"));
        PageQuery::from([("search", search.as_str()), ("sort", "end")]).href(CERTIFICATES)
    }

    fn later(&self, expiry: &CertificateExpiryView) -> String {
        let last = expiry.weeks.last().map(|week| week.first_day + TimeDelta::days(7));
        last.map(|day| self.href(&format!("ends:{day}..9998-12-31"))).unwrap_or_default()
    }

    fn links(&self, query: &PageQuery) -> Vec<FilterLink> {
        let offered = [
            ("Active", "status:ACTIVE"),
            ("End within 7 d", "status:ACTIVE ends:<7d"),
            ("End within 30 d, no successor", "status:ACTIVE ends:<30d replaced:no"),
            ("Revoked", "status:REVOKED"),
            ("Revoked, not proven", "proven:no"),
            ("Expired", "status:EXPIRED"),
            ("All", "*"),
        ];
        let link = |(label, terms): (&str, &str)| {
            let search = self.search(terms);
            let is_on = query.get("search") == Some(search.as_str());
            let href = query.with("search", &search).href(CERTIFICATES);
            FilterLink { label: label.to_owned(), href, is_on, count: None }
        };
        offered.into_iter().map(link).collect()
    }

    /// Below, what has a successor; on top, what has none.
    fn bars(&self, expiry: &CertificateExpiryView, search: &str) -> Markup {
        let soon = expiry.weeks.first().map(|week| week.first_day + SOON);
        let bars: Vec<Bar> = expiry
            .weeks
            .iter()
            .map(|week| {
                let last = week.first_day + TimeDelta::days(6);
                let ends = format!("ends:{}..{last}", week.first_day);
                let is_soon = soon.is_some_and(|soon| week.first_day < soon);
                let replaced = u64::from(week.ending.saturating_sub(week.unreplaced));
                let class = if is_soon { "warn" } else { "" };
                Bar {
                    label: format!("{} to {last}", week.first_day),
                    parts: vec![("off", replaced), (class, u64::from(week.unreplaced))],
                    is_on: search.contains(&ends),
                    href: Some(self.href(&ends)),
                }
            })
            .collect();
        Bars { label: "Active certificates by the week of their end", unit: "week", bars: &bars }
            .draw()
    }
}

// === private helpers ===

/// "212 found", "more than 10,000 found".
fn found_text(found: FoundRows) -> String {
    let number = filters::thousands(i128::from(found.rows));
    if found.more { format!("more than {number} found") } else { format!("{number} found") }
}

fn command(query: &PageQuery) -> String {
    let mut command = "cert list".to_owned();
    for (name, value) in api_query(query).pairs() {
        // Writing to a string does not fail.
        let _ = write!(command, " --{name} {}", shell_quoted(value));
    }
    command
}
