//! The charts of a device: its numeric metrics over an hour, a day or a week. A line by the server,
//! and the data of a plot for the browser.
//!
//! The metrics are those of the last messages. Older names have no chart.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::console::device_address::DeviceAddress;
use crate::console::markup::Markup;
use crate::console::page::PageError;
use crate::console::query::PageQuery;
use crate::console::state::ConsoleState;
use crate::console::svg::Spark;
use crate::console::visit::Visit;
use crate::http::{ApiFault, Buckets, PageApi, TelemetryView};

/// Most charts of a page.
const CHARTS_MAX: usize = 6;

/// The ranges: label, length and step in seconds.
const RANGES: [(&str, &str, i64, i64); 3] =
    [("1h", "1 h", 3_600, 60), ("24h", "24 h", 86_400, 900), ("7d", "7 d", 604_800, 7_200)];

/// The charts of a page.
pub(super) struct DeviceCharts {
    pub ranges: Vec<(String, String)>,
    pub open: &'static str,
    pub metrics: Vec<MetricChart>,
    /// Names of metrics that have no room.
    pub others: Vec<String>,
}

/// A metric.
pub(super) struct MetricChart {
    pub name: String,
    pub last: String,
    pub line: Result<Markup, String>,
    /// The address of the data of its plot.
    pub plot: String,
}

/// The data of a plot: the labels of its lines, then the seconds and the values of each line.
#[derive(Debug, Serialize)]
pub(super) struct PlotData {
    labels: [String; 3],
    data: [Vec<Option<f64>>; 4],
}

/// Reads the charts for the range in the address.
pub(super) async fn read(
    api: &PageApi,
    visit: &Visit,
    address: &DeviceAddress,
    messages: &[TelemetryView],
) -> DeviceCharts {
    let range = range_of(visit.query());
    let mut names = numeric(messages);
    let others = names.split_off(names.len().min(CHARTS_MAX));
    let fetch = |at: usize| {
        let name = names.get(at).cloned();
        async move {
            match name {
                Some(name) => Some(chart(api, visit, address, range, name, messages).await),
                None => None,
            }
        }
    };
    // As many as `CHARTS_MAX`.
    let charts = tokio::join!(fetch(0), fetch(1), fetch(2), fetch(3), fetch(4), fetch(5));
    let charts = [charts.0, charts.1, charts.2, charts.3, charts.4, charts.5];
    let path = address.path();
    let tab = |(value, label, ..): &(&str, &str, i64, i64)| {
        ((*label).to_owned(), visit.query().with("range", value).href(&path))
    };
    DeviceCharts {
        ranges: RANGES.iter().map(tab).collect(),
        open: range.1,
        metrics: charts.into_iter().flatten().collect(),
        others,
    }
}

/// `GET .../plot?metric=&range=`: the data of one plot.
pub(super) async fn plot(
    State(console): State<ConsoleState>,
    Path(address): Path<DeviceAddress>,
    visit: Visit,
) -> Result<Json<PlotData>, PageError> {
    let metric = visit.query().get("metric").unwrap_or_default().to_owned();
    let range = range_of(visit.query());
    let buckets = buckets(&console.api, &visit, &address, range, &metric).await?;
    let mut data: [Vec<Option<f64>>; 4] = Default::default();
    for bucket in &buckets.items {
        #[expect(clippy::cast_precision_loss, reason = "seconds of this millennium are exact")]
        data[0].push(Some(bucket.start.timestamp() as f64));
        data[1].push(Some(bucket.avg));
        data[2].push(Some(bucket.min));
        data[3].push(Some(bucket.max));
    }
    let labels = [metric, "min".to_owned(), "max".to_owned()];
    Ok(Json(PlotData { labels, data }))
}

// === impl DeviceCharts ===

impl DeviceCharts {
    /// Whether the page draws anything.
    pub(super) fn has_plots(&self) -> bool {
        self.metrics.iter().any(|chart| chart.line.is_ok())
    }
}

// === private helpers ===

async fn chart(
    api: &PageApi,
    visit: &Visit,
    address: &DeviceAddress,
    range: (&'static str, &'static str, i64, i64),
    name: String,
    messages: &[TelemetryView],
) -> MetricChart {
    let found = buckets(api, visit, address, range, &name).await;
    let plot = PageQuery::from([("metric", name.as_str()), ("range", range.0)]);
    let last = messages.iter().find_map(|row| number(row, &name)).unwrap_or_default();
    MetricChart {
        line: found.map(|buckets| line(&name, &buckets, range)).map_err(|fault| fault.detail),
        plot: plot.href(&format!("{}/plot", address.path())),
        last,
        name,
    }
}

async fn buckets(
    api: &PageApi,
    visit: &Visit,
    address: &DeviceAddress,
    (_, _, length, step): (&str, &str, i64, i64),
    metric: &str,
) -> Result<Buckets, ApiFault> {
    let (since, step) = (format!("{length}s"), step.to_string());
    let query =
        PageQuery::from([("metric", metric), ("since", since.as_str()), ("step", step.as_str())]);
    let target = query.href(&format!("{}/telemetry/buckets", address.api()));
    api.get(&visit.person, &target).await
}

/// The averages as a line; a bucket without a number is a gap.
fn line(name: &str, buckets: &Buckets, (_, _, length, step): (&str, &str, i64, i64)) -> Markup {
    let count = usize::try_from(length / step).unwrap_or_default();
    let mut values = vec![None; count];
    let mut times = vec![String::new(); count];
    // The first bucket is the oldest that may have a number; the last one begins a step before now.
    let first = crate::clock::now().to_utc().timestamp() - length;
    for bucket in &buckets.items {
        let at = usize::try_from((bucket.start.timestamp() - first).max(0) / step).unwrap_or(count);
        if let Some(value) = values.get_mut(at) {
            *value = Some(bucket.avg);
            times[at] = bucket.start.format("%m-%d %H:%M").to_string();
        }
    }
    let spark = Spark { label: name, unit: "", values: &values, times: &[], class: "" };
    spark.draw_measured()
}

fn range_of(query: &PageQuery) -> (&'static str, &'static str, i64, i64) {
    let wanted = query.get("range").unwrap_or("1h");
    RANGES.into_iter().find(|range| range.0 == wanted).unwrap_or(RANGES[0])
}

/// The names of the numeric metrics of these messages.
fn numeric(messages: &[TelemetryView]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for row in messages {
        let metrics: Map<String, Value> =
            serde_json::from_str(row.metrics.get()).unwrap_or_default();
        names.extend(
            metrics.into_iter().filter(|(_, value)| value.is_number()).map(|(name, _)| name),
        );
    }
    names.into_iter().collect()
}

fn number(row: &TelemetryView, name: &str) -> Option<String> {
    let metrics: Map<String, Value> = serde_json::from_str(row.metrics.get()).ok()?;
    metrics.get(name).filter(|value| value.is_number()).map(ToString::to_string)
}
