//! `/telemetry`: the latest row, the rows of a time range, and a metric in buckets. It only reads.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::DevicePath;
use super::tenants;
use crate::clock;
use crate::domain::ids::{DeviceId, DeviceKey};
use crate::domain::link::LinkName;
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Param, Seconds, Whole};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::telemetry::{BucketView, TelemetryView};
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::reads::telemetry::{self, RowOrder, TelemetryRange};

/// The default time span, in seconds: a day.
const SPAN: i64 = 86_400;

/// The most buckets of one response.
const BUCKETS_MAX: f64 = 1000.0;

/// Filters of the latest row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatestParams {
    /// Only rows of this message type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
}

/// The page of a tenant's devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatestOfEachParams {
    /// The number of devices that a page reads; a device without telemetry gives no row.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<DeviceId>>,
}

/// Filters of rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowParams {
    /// Rows of this time or later; the default is a day before `until`.
    #[serde(alias = "from")]
    since: Option<Param<Timestamp>>,
    /// Rows before this time; the default is now.
    #[serde(alias = "to")]
    until: Option<Param<Timestamp>>,
    /// Only rows of this message type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
    /// Only rows of messages that came over this link.
    link: Option<Param<LinkName>>,
    /// Whether the newest row comes first; the default is the oldest.
    newest_first: Option<Param<bool>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page, in the same order.
    cursor: Option<Param<QuarantineCursor>>,
}

/// Filters of buckets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketParams {
    /// The name of the metric, a key of `metrics`.
    metric: Param<FreeText>,
    /// The length of a bucket in seconds; the range has at most 1000 buckets.
    step: Param<Seconds>,
    /// Rows of this time or later, where the first bucket begins; the default is a day before
    /// `until`.
    #[serde(alias = "from")]
    since: Option<Param<Timestamp>>,
    /// Rows before this time; the default is now.
    #[serde(alias = "to")]
    until: Option<Param<Timestamp>>,
    /// Only rows of this message type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
}

/// A metric over time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Buckets {
    /// The name of the metric.
    pub metric: String,
    /// The length of a bucket in seconds.
    pub step_seconds: u32,
    /// The buckets in the order of time; a bucket without a number is left out.
    pub items: Vec<BucketView>,
}

pub(crate) async fn latest(
    api: Api,
    call: Call<DevicePath, LatestParams, NoBody>,
) -> Result<OkJson<TelemetryView>, Problem> {
    let device = call.path.key();
    let msg_type = text_of(call.query.msg_type);
    let row = telemetry::latest(api.database.pool(), &device, msg_type.as_deref()).await?;
    row.map(|row| OkJson(row.into()))
        .ok_or_else(|| Problem::not_found(format!("no telemetry of device {device} found")))
}

pub(crate) async fn latest_of_each(
    api: Api,
    call: Call<tenants::TenantPath, LatestOfEachParams, NoBody>,
) -> Result<OkJson<Page<TelemetryView>>, Problem> {
    let LatestOfEachParams { limit: Param(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Param(device)| device);
    let tenant = &call.path.tenant.0;
    let (pool, layout) = (api.database.pool(), api.database.layout());
    let latest =
        telemetry::latest_of_each(pool, layout, tenant, after.as_ref(), limit, clock::now());
    let (rows, next) = latest.await?;
    let items = rows.into_iter().map(TelemetryView::from).collect();
    Ok(OkJson(Page { items, next }))
}

pub(crate) async fn range(
    api: Api,
    call: Call<DevicePath, RowParams, NoBody>,
) -> Result<OkJson<Page<TelemetryView>>, Problem> {
    let RowParams { since, until, msg_type, link, newest_first, limit, cursor } = call.query;
    let Param(Limit(limit)) = limit;
    let range = range_of(call.path.key(), since, until, msg_type)?;
    let range = TelemetryRange { link: link.map(|Param(link)| link), ..range };
    let after = cursor.map(|Param(place)| place);
    let order = match newest_first {
        Some(Param(true)) => RowOrder::NewestFirst,
        _ => RowOrder::OldestFirst,
    };
    let fetched = Page::<TelemetryView>::fetch(limit);
    let rows = telemetry::range(api.database.pool(), &range, order, after, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn buckets(
    api: Api,
    call: Call<DevicePath, BucketParams, NoBody>,
) -> Result<OkJson<Buckets>, Problem> {
    let BucketParams {
        metric: Param(FreeText(metric)),
        step: Param(Whole(step)),
        since,
        until,
        msg_type,
    } = call.query;
    let range = range_of(call.path.key(), since, until, msg_type)?;
    if range.to.seconds_since(range.from) / f64::from(step) > BUCKETS_MAX {
        return Err(Problem::field(
            "step",
            "the range has more than 1000 buckets of this length: use a longer step",
        ));
    }
    let step_seconds = step;
    let step = Duration::from_secs(step.into());
    let items = telemetry::buckets(api.database.pool(), &range, &metric, step).await?;
    let items = items.into_iter().map(BucketView::from).collect();
    Ok(OkJson(Buckets { metric, step_seconds, items }))
}

// === private helpers ===

fn range_of(
    device: DeviceKey,
    since: Option<Param<Timestamp>>,
    until: Option<Param<Timestamp>>,
    msg_type: Option<Param<FreeText>>,
) -> Result<TelemetryRange, Problem> {
    let to = until.map_or_else(clock::now, |Param(until)| until);
    let from = since.map_or_else(|| to.plus_seconds(-SPAN), |Param(since)| since);
    if from >= to {
        return Err(Problem::field("since", "expected a time before `until`"));
    }
    Ok(TelemetryRange { device, from, to, msg_type: text_of(msg_type), link: None })
}

fn text_of(param: Option<Param<FreeText>>) -> Option<String> {
    param.map(|Param(FreeText(text))| text)
}
