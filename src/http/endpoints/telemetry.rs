//! `/telemetry`: the latest row, the rows of a time span, and a metric in buckets. It only reads.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::DevicePath;
use super::tenants;
use crate::clock;
use crate::domain::ids::{DeviceId, DeviceKey};
use crate::domain::time::Timestamp;
use crate::http::api::extract::{Call, NoBody};
use crate::http::api::page::Page;
use crate::http::api::params::{FreeText, Limit, Param, Seconds, Whole};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::store::reads::quarantine::QuarantineCursor;
use crate::store::reads::telemetry::{self, MetricBucket, TelemetryRange, TelemetryRow};

/// The default time span, in seconds: a day.
const SPAN: i64 = 86_400;

/// The most buckets of one response.
const BUCKETS_MAX: f64 = 1000.0;

/// Which latest row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latest {
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
}

/// Which page of a tenant's devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatestOfEach {
    /// How many devices are looked at; those that sent nothing are left out.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the page before.
    cursor: Option<Param<DeviceId>>,
}

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rows {
    /// From this moment on; a day before `to` when not given.
    from: Option<Param<Timestamp>>,
    /// Before this moment; now when not given.
    to: Option<Param<Timestamp>>,
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the page before.
    cursor: Option<Param<QuarantineCursor>>,
}

/// Which buckets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gathered {
    /// The metric's name, a key of `metrics`.
    metric: Param<FreeText>,
    /// How long a bucket is, in seconds; the whole span has at most 1000 of them.
    step: Param<Seconds>,
    /// From this moment on, where the first bucket begins; a day before `to` when not given.
    from: Option<Param<Timestamp>>,
    /// Before this moment; now when not given.
    to: Option<Param<Timestamp>>,
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Param<FreeText>>,
}

/// A metric over time.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Buckets {
    metric: String,
    step_seconds: u32,
    /// In the order of time; those without a number are left out.
    items: Vec<MetricBucket>,
}

pub(crate) async fn latest(
    api: Api,
    call: Call<DevicePath, Latest, NoBody>,
) -> Result<OkJson<TelemetryRow>, Problem> {
    let (device, msg_type) = (call.path.key(), words(call.query.msg_type));
    let row = telemetry::latest(api.database.pool(), &device, msg_type.as_deref()).await?;
    row.map(OkJson)
        .ok_or_else(|| Problem::not_found(format!("there is no such telemetry of device {device}")))
}

pub(crate) async fn latest_of_each(
    api: Api,
    call: Call<tenants::TenantPath, LatestOfEach, NoBody>,
) -> Result<OkJson<Page<TelemetryRow>>, Problem> {
    let LatestOfEach { limit: Param(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Param(device)| device);
    let asked =
        telemetry::latest_of_each(api.database.pool(), &call.path.tenant.0, after.as_ref(), limit);
    let (items, next) = asked.await?;
    Ok(OkJson(Page { items, next }))
}

pub(crate) async fn range(
    api: Api,
    call: Call<DevicePath, Rows, NoBody>,
) -> Result<OkJson<Page<TelemetryRow>>, Problem> {
    let Rows { from, to, msg_type, limit: Param(Limit(limit)), cursor } = call.query;
    let range = span(call.path.key(), from, to, msg_type)?;
    let after = cursor.map(|Param(place)| place);
    let rows =
        telemetry::range(api.database.pool(), &range, after, Page::<TelemetryRow>::fetch(limit))
            .await?;
    Ok(OkJson(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn buckets(
    api: Api,
    call: Call<DevicePath, Gathered, NoBody>,
) -> Result<OkJson<Buckets>, Problem> {
    let Gathered { metric: Param(FreeText(metric)), step: Param(Whole(step)), from, to, msg_type } =
        call.query;
    let range = span(call.path.key(), from, to, msg_type)?;
    if range.to.seconds_since(range.from) / f64::from(step) > BUCKETS_MAX {
        return Err(Problem::field(
            "step",
            "the span has more than 1000 of these: make the step longer",
        ));
    }
    let step_seconds = step;
    let step = Duration::from_secs(step.into());
    let items = telemetry::buckets(api.database.pool(), &range, &metric, step).await?;
    Ok(OkJson(Buckets { metric, step_seconds, items }))
}

// === private helpers ===

fn span(
    device: DeviceKey,
    from: Option<Param<Timestamp>>,
    to: Option<Param<Timestamp>>,
    msg_type: Option<Param<FreeText>>,
) -> Result<TelemetryRange, Problem> {
    let to = to.map_or_else(clock::now, |Param(to)| to);
    let from = from.map_or_else(|| to.plus_seconds(-SPAN), |Param(from)| from);
    if from >= to {
        return Err(Problem::field("from", "it must lie before `to`"));
    }
    Ok(TelemetryRange { device, from, to, msg_type: words(msg_type) })
}

fn words(said: Option<Param<FreeText>>) -> Option<String> {
    said.map(|Param(FreeText(text))| text)
}
