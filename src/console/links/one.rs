//! `/console/links/{name}`: a link with its lanes, its backlog and gap, and its dead letters.
//!
//! A person who is bound to a tenant sees only the dead letters of that tenant.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::{Path, State};

use super::words::{bytes, href, rate, target, tone_of};
use crate::console::filters;
use crate::console::frame::{Frame, NavPage, shell_quoted};
use crate::console::list::{FilterField, Pager, ROWS};
use crate::console::page::{PageError, WebPage};
use crate::console::query::PageQuery;
use crate::console::state::ConsoleState;
use crate::console::visit::Visit;
use crate::http::{DeadLetterSummaryView, PageOf};
use crate::link::overview::{LaneOverview, LinkOverview, UNKNOWN};

/// The filters of the dead letters, in the address and in the API.
pub(super) const FILTERS: [&str; 5] = ["tenant", "device", "reason", "since", "until"];

/// The reasons of dead letters, for the filter.
const REASONS: [(&str, &str); 7] = [
    ("", "any"),
    ("TOO_LARGE", "TOO_LARGE"),
    ("BAD_TOPIC", "BAD_TOPIC"),
    ("NOT_AUTHORIZED", "NOT_AUTHORIZED"),
    ("REFUSED", "REFUSED"),
    ("CLOSES_CONNECTION", "CLOSES_CONNECTION"),
    ("EXPIRED", "EXPIRED"),
];

/// The page.
#[derive(Template)]
#[template(path = "link_one.html")]
pub(super) struct LinkDetailPage {
    frame: Frame,
    name: String,
    base: String,
    /// `None`: the person sees only what the link did not accept of one tenant.
    link: Option<LinkOverview>,
    letters: Vec<DeadLetterSummaryView>,
    fields: Vec<FilterField>,
    pager: Pager,
    /// The filter as it is in the address.
    filter: PageQuery,
}

pub(super) async fn show(
    State(console): State<ConsoleState>,
    Path(name): Path<String>,
    visit: Visit,
) -> Result<WebPage<LinkDetailPage>, PageError> {
    let (api, person) = (&console.api, &visit.person);
    let query = visit.query();
    let base = href(&name);
    let limit = ROWS.to_string();
    let listed = query.only(&FILTERS);
    let rows = match query.get("cursor") {
        Some(cursor) => listed.with("limit", &limit).with("cursor", cursor),
        None => listed.with("limit", &limit),
    };
    let rows = rows.href(&format!("{}/refused", target(&name)));
    let shown = target(&name);
    let link = async {
        if person.tenant.is_some() {
            return Ok(None);
        }
        api.get::<LinkOverview>(person, &shown).await.map(Some)
    };
    let (link, letters) =
        tokio::join!(link, api.get::<PageOf<DeadLetterSummaryView>>(person, &rows));
    let (link, letters) = (link?, letters?);
    let mut command = format!("link refused list --link {}", shell_quoted(&name));
    for (key, value) in listed.pairs() {
        let _ = write!(command, " --{key} {}", shell_quoted(value));
    }
    let frame = visit
        .frame(format!("Link {name}"), NavPage::Links)
        .same_by("link status", "GET", &shown)
        .same_by(&command, "GET", &rows);
    let pager = Pager::new(&base, query, letters.items.len(), letters.next.as_deref());
    let fields = fields(query, person.tenant.is_some());
    let letters = letters.items;
    Ok(WebPage(LinkDetailPage { frame, name, base, link, letters, fields, pager, filter: listed }))
}

// === private helpers ===

fn fields(query: &PageQuery, is_bound: bool) -> Vec<FilterField> {
    let tenant = (!is_bound).then(|| FilterField::text(query, "tenant", "Tenant", "acme"));
    let others = [
        FilterField::text(query, "device", "Device", "pump-1"),
        FilterField::choice(query, "reason", "Reason", &REASONS),
        FilterField::text(query, "since", "Since", "2h, or a time"),
        FilterField::text(query, "until", "Until", "10m, or a time"),
    ];
    tenant.into_iter().chain(others).collect()
}

// === impl LinkDetailPage ===

impl LinkDetailPage {
    fn tone(state: &str) -> &'static str {
        tone_of(state)
    }

    fn rate_of_link(link: &LinkOverview) -> String {
        rate(link.sent_per_second)
    }

    fn rate_of_lane(lane: &LaneOverview) -> String {
        rate(lane.sent_per_second)
    }

    fn bytes_of(link: &LinkOverview) -> String {
        bytes(link.waiting_bytes)
    }

    fn letter(&self, letter: &DeadLetterSummaryView) -> String {
        format!("{}/refused/{}", self.base, letter.id)
    }

    fn is_filtered(&self) -> bool {
        self.filter.pairs().next().is_some()
    }

    /// The beginning that the form of a refill proposes.
    fn gap_start(link: &LinkOverview) -> String {
        link.gap_since.map_or_else(
            || "1h".to_owned(),
            |at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        )
    }

    /// Whether no daemon reports the link: it may be one that is no longer in the links file.
    fn is_unknown(link: &LinkOverview) -> bool {
        link.state == UNKNOWN
    }
}
