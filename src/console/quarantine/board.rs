//! The counts beside and above the list: facets as links with bars, the histogram, and the sentence
//! about what they say.
//!
//! It counts nothing itself.

use chrono::{DateTime, TimeDelta, Utc};

use super::fixes::{FixPlace, ReasonFix, fix_of, page_of};
use super::terms::QuarantineTerms;
use crate::clock;
use crate::console::filters::thousands;
use crate::console::list::FilterLink;
use crate::console::markup::Markup;
use crate::console::svg::{Bar, Bars, meter};
use crate::domain::refusal::Reason;
use crate::http::views::facets::{FacetCountView, FacetsView};

/// The period without `since` in the search.
const DEFAULT_PERIOD: &str = "7d";

/// Devices that one form adds.
const ADD_MAX: usize = 50;

/// Everything that the page counts.
#[derive(Clone, Debug)]
pub(crate) struct FacetBoard {
    pub facets: FacetsView,
    pub reasons: Vec<FilterLink>,
    pub tenants: Vec<FilterLink>,
    pub devices: Vec<FilterLink>,
    pub shown: Vec<FilterLink>,
    pub periods: Vec<FilterLink>,
    pub histogram: Markup,
    /// The times between which the messages of the histogram were refused.
    pub first: Option<DateTime<Utc>>,
    pub last: Option<DateTime<Utc>>,
    pub fix: Option<FixBox>,
}

/// What fixes the one reason that the page is about.
#[derive(Clone, Debug)]
pub(crate) struct FixBox {
    pub reason: &'static str,
    pub fix: ReasonFix,
    /// Label and address of the page where the fix is made.
    pub page: Option<(String, String)>,
    /// Devices to add, as `<tenant>/<device>`.
    pub devices: Vec<FacetCountView>,
}

// === impl FacetBoard ===

impl FacetBoard {
    pub(crate) fn new(terms: &QuarantineTerms, facets: FacetsView) -> Self {
        let link = |key, row: &FacetCountView| {
            let (href, is_on) = terms.toggle(key, &row.value);
            FilterLink { label: row.value.clone(), href, is_on, count: Some(row.count) }
        };
        let counted = &facets.counted;
        let tenants = counted.tenants.iter().filter(|row| !row.value.is_empty());
        let devices = facets.kept.devices.iter().map(|row| {
            let device = row.value.split_once('/').map_or(&*row.value, |(_, device)| device);
            let (href, is_on) = terms.toggle("device", device);
            FilterLink { label: row.value.clone(), href, is_on, count: Some(row.count) }
        });
        let bars = time_bars(terms, &facets);
        let label = "Refused messages by time";
        let place = |at: usize| facets.since + TimeDelta::seconds(counted.step_seconds) * index(at);
        let first = counted.bars.iter().position(|count| *count > 0).map(place);
        let last = counted.bars.iter().rposition(|count| *count > 0);
        let last = last.map(|at| place(at + 1).min(facets.until).min(clock::now().to_utc()));
        Self {
            reasons: counted.reasons.iter().map(|row| link("reason", row)).collect(),
            tenants: tenants.map(|row| link("tenant", row)).collect(),
            devices: devices.collect(),
            shown: shown_links(terms),
            periods: period_links(terms),
            histogram: Bars { label, unit: "from", bars: &bars }.draw(),
            first,
            last,
            fix: FixBox::of(terms, &facets),
            facets,
        }
    }

    /// The number of kept messages in words.
    pub(crate) fn kept(&self) -> String {
        let kept = &self.facets.kept;
        let number = thousands(i128::from(kept.total));
        if kept.more { format!("more than {number}") } else { number }
    }

    /// Conditions that the exact counts do not consider, in words; empty: there are none.
    pub(crate) fn without(&self) -> String {
        self.facets.counted.without.join(", ")
    }

    /// Whether the exact counts are about more messages than the list, but for those replayed.
    pub(crate) fn is_wider(&self) -> bool {
        self.facets.counted.without.iter().any(|condition| condition.as_str() != "replayed")
    }

    /// The count of a link beside the largest of its facet, as a bar.
    #[expect(clippy::unused_self, reason = "the template calls it on the board")]
    #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 52 bits")]
    pub(crate) fn bar(&self, link: &FilterLink, links: &[FilterLink]) -> Markup {
        let most = links.iter().filter_map(|link| link.count).max().unwrap_or(0).max(1);
        meter(link.count.unwrap_or(0) as f64, most as f64)
    }
}

// === impl FixBox ===

impl FixBox {
    /// For a search about one reason, or whose kept messages have one.
    fn of(terms: &QuarantineTerms, facets: &FacetsView) -> Option<Self> {
        let label = terms.search.only("reason").or_else(|| match &facets.kept.reasons[..] {
            [one] => Some(one.value.clone()),
            _ => None,
        })?;
        let reason = Reason::from_label(&label)?;
        let fix = fix_of(reason);
        let only = match &facets.kept.devices[..] {
            [one] => one.value.split_once('/'),
            _ => None,
        };
        let tenant =
            only.map(|(tenant, _)| tenant.to_owned()).or_else(|| terms.search.only("tenant"));
        let page = page_of(fix.place, tenant.as_deref(), only.map(|(_, device)| device));
        let adds = fix.place == FixPlace::AddDevices;
        let devices = facets.kept.devices.iter().filter(|_| adds).take(ADD_MAX);
        let page = page.filter(|_| !adds);
        Some(Self { reason: reason.label(), fix, page, devices: devices.cloned().collect() })
    }

    /// The form that registers one of the devices.
    #[expect(clippy::unused_self, reason = "the template calls it on the box")]
    pub(crate) fn form_of(&self, device: &FacetCountView) -> Option<String> {
        let (tenant, device) = device.value.split_once('/')?;
        page_of(FixPlace::AddDevices, Some(tenant), Some(device)).map(|(_, href)| href)
    }
}

// === private helpers ===

/// One bar for each step; each leads to the messages of its time.
fn time_bars(terms: &QuarantineTerms, facets: &FacetsView) -> Vec<Bar> {
    let step = TimeDelta::seconds(facets.counted.step_seconds);
    let times = terms.search.only("since").zip(terms.search.only("until"));
    let bar = |(at, count): (usize, &u64)| {
        let from = facets.since + step * index(at);
        let until = from + step;
        let label = format!("{} UTC", from.format("%m-%d %H:%M"));
        let (since, until) = (written(from), written(until));
        let is_on = times.as_ref().is_some_and(|(one, other)| *one == since && *other == until);
        let href = terms.over(&since, Some(&until));
        Bar { is_on, ..Bar::new(label, *count, Some(href)) }
    };
    facets.counted.bars.iter().enumerate().map(bar).collect()
}

fn index(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

/// As the search writes a time.
fn written(time: DateTime<Utc>) -> String {
    crate::domain::time::Timestamp::from(time).to_string()
}

fn shown_links(terms: &QuarantineTerms) -> Vec<FilterLink> {
    let search = &terms.search;
    let rest = search.without("replayed").to_string();
    let own = search.only("replayed");
    let is_all = terms.shows_all && own.is_none();
    let link = |label: &str, href: String, is_on| FilterLink {
        label: label.to_owned(),
        href,
        is_on,
        count: None,
    };
    let replayed = format!("{rest} replayed:yes");
    let is_open = !is_all && own.as_deref() != Some("yes");
    vec![
        link(
            "Not replayed",
            QuarantineTerms::query(&rest, false).href(super::terms::PATH),
            is_open,
        ),
        link(
            "Replayed",
            QuarantineTerms::query(replayed.trim(), false).href(super::terms::PATH),
            own.as_deref() == Some("yes"),
        ),
        link("All", QuarantineTerms::query(&rest, true).href(super::terms::PATH), is_all),
    ]
}

fn period_links(terms: &QuarantineTerms) -> Vec<FilterLink> {
    let now = terms.search.only("since");
    let has_end = terms.search.values("until").next().is_some();
    ["15m", "1h", "24h", "7d", "14d"]
        .into_iter()
        .map(|span| FilterLink {
            label: span.to_owned(),
            href: terms.over(span, None),
            is_on: !has_end && now.as_deref().unwrap_or(DEFAULT_PERIOD) == span,
            count: None,
        })
        .collect()
}
