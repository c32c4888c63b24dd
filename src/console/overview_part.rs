//! The part of the overview that changes: numbers, lines and bars from one answer of the API.
//!
//! It reads nothing itself.

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};

use super::filters;
use super::markup::Markup;
use super::query::PageQuery;
use super::svg::{Bar, Bars, Share, Spark, meter, short, stack_bar};
use crate::http::{OverviewView, ReasonView};
use crate::link::overview::LinkOverview;

/// The part.
#[derive(Template)]
#[template(path = "parts/overview.html")]
pub(crate) struct OverviewPart {
    view: OverviewView,
    tiles: Vec<FlowTile>,
}

/// A number of the flow with its last hour.
struct FlowTile {
    label: &'static str,
    value: String,
    unit: &'static str,
    note: String,
    href: &'static str,
    chart: Markup,
}

// === impl OverviewPart ===

impl OverviewPart {
    pub(crate) fn new(view: OverviewView) -> Self {
        Self { tiles: tiles(&view), view }
    }

    /// The share of the most frequent reason that another one has.
    fn reason_meter(&self, reason: &ReasonView) -> Markup {
        let most = self.view.refusals.iter().flatten().map(|reason| reason.messages).max();
        meter(as_f64(reason.messages), as_f64(most.unwrap_or(0)))
    }

    fn reason_href(reason: &ReasonView) -> String {
        let search = format!("reason:{} since:1h", reason.reason);
        PageQuery::from([("search", search.as_str())]).href("/console/quarantine")
    }

    /// Devices by status, each a link to them.
    fn device_bar(&self) -> Markup {
        let Some(devices) = &self.view.devices else { return Markup::default() };
        let share = |value: i64, label: &str, class, status: &str| Share {
            label: label.to_owned(),
            value: u64::try_from(value).unwrap_or(0),
            class,
            href: Some(search("/console/devices", &format!("status:{status}"))),
        };
        stack_bar(
            "Devices by status",
            &[
                share(devices.active, "active", "ok", "ACTIVE"),
                share(devices.inactive, "inactive", "off", "INACTIVE"),
                share(devices.revoked, "revoked", "bad", "REVOKED"),
            ],
        )
    }

    /// Certificates by the week of their end.
    fn week_bars(&self) -> Markup {
        let Some(certificates) = &self.view.certificates else { return Markup::default() };
        let mut bars = Vec::new();
        let mut from = self.view.at;
        for number in &certificates.by_week {
            let until = from + TimeDelta::weeks(1);
            let label = format!("{} to {}", from.format("%m-%d"), until.format("%m-%d"));
            let last = until - TimeDelta::days(1);
            let found = format!("status:ACTIVE ends:{}..{}", from.format("%F"), last.format("%F"));
            let href = search("/console/certificates", &found);
            bars.push(Bar::new(label, u64::try_from(*number).unwrap_or(0), Some(href)));
            from = until;
        }
        Bars { label: "Certificates by the week of their end", unit: "week", bars: &bars }.draw()
    }

    /// The tone and the icon of a component.
    fn tone(state: &str) -> (&'static str, &'static str) {
        match state {
            "ok" => ("ok", "check"),
            "warning" => ("warn", "warn"),
            "failed" => ("bad", "cross"),
            _ => ("off", "off"),
        }
    }

    /// The page that says more about a component.
    fn page_of(component: &str) -> Option<&'static str> {
        match component {
            "revocation" | "authority" => Some("/console/ca"),
            "links" => Some("/console/links"),
            "policy" => Some("/console/access"),
            "certificates" => Some("/console/certificates"),
            _ => None,
        }
    }

    fn link_tone(link: &LinkOverview) -> &'static str {
        match link.state.as_str() {
            "up" => "ok",
            "standby" | "connecting" => "info",
            "throttled" | "unknown" => "warn",
            _ => "bad",
        }
    }

    /// Seconds from the order to the proof of the last revocation.
    fn proven_after(&self) -> Option<String> {
        let last = self.view.last_revocation.as_ref()?;
        let proof = last.revocation.links.last()?;
        proof.seconds.map(|seconds| format!("{seconds:.2} s"))
    }
}

// === private helpers ===

fn search(path: &str, text: &str) -> String {
    PageQuery::from([("search", text)]).href(path)
}

fn tiles(view: &OverviewView) -> Vec<FlowTile> {
    let Some(flow) = &view.flow else { return Vec::new() };
    let times: Vec<String> =
        flow.history.iter().map(|point| point.at.format("%H:%M:%S").to_string()).collect();
    let line = |label: &str, unit: &str, class, values: Vec<Option<f64>>| {
        Spark { label, unit, values: &values, times: &times, class }.draw()
    };
    let each = |of: fn(&crate::http::FlowPointView) -> Option<f64>| -> Vec<Option<f64>> {
        flow.history.iter().map(of).collect()
    };
    let rates = &flow.rates;
    let share = if rates.received > 0.0 {
        (rates.refused / rates.received * 100.0).min(100.0)
    } else {
        0.0
    };
    let began = view.refusals.iter().flatten().filter(|reason| reason.is_new);
    let began = began.filter_map(|reason| reason.began_at).min();
    let waiting = as_f64(flow.queue + flow.unacknowledged);
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
    vec![
        FlowTile {
            label: "Stored",
            value: short(rates.stored),
            unit: "/s",
            note: "last hour".to_owned(),
            href: "/console/devices?sort=-last_heard",
            chart: line("Stored, last hour", "/s", "", each(|point| Some(point.rates.stored))),
        },
        FlowTile {
            label: "Refused",
            value: short(rates.refused),
            unit: "/s",
            note: refused_note(share, began),
            href: "/console/quarantine?search=since%3A1h",
            chart: line("Refused, last hour", "/s", "bad", each(|p| Some(p.rates.refused))),
        },
        FlowTile {
            label: "Duplicate",
            value: short(rates.duplicate),
            unit: "/s",
            note: "sent again, stored once".to_owned(),
            href: "/console/devices?sort=-last_heard",
            chart: line("Duplicate, last hour", "/s", "quiet", each(|p| Some(p.rates.duplicate))),
        },
        FlowTile {
            label: "Latency",
            value: milliseconds(rates.p99_ms),
            unit: " ms p99",
            note: format!("from receipt to commit, p50 {} ms", milliseconds(rates.p50_ms)),
            href: "/console/doctor",
            chart: line("p99, last hour", " ms", "", each(|point| point.rates.p99_ms)),
        },
        FlowTile {
            label: "Waiting",
            value: short(waiting),
            unit: "",
            note: format!("messages, of a window of {}", filters::thousands(flow.window.into())),
            href: "/console/doctor",
            chart: meter(waiting, f64::from(flow.window)),
        },
    ]
}

fn refused_note(share: f64, began: Option<DateTime<Utc>>) -> String {
    let share = format!("{share:.1} % of received");
    match began {
        Some(at) => format!("{share}, since {} UTC", at.format("%H:%M")),
        None => share,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a length needs no more than 52 bits")]
fn as_f64(number: i64) -> f64 {
    number as f64
}
