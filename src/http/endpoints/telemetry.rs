//! `/telemetry`: the latest row, rows of a span of time, and a metric gathered into buckets.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::Which;
use super::tenants;
use crate::clock;
use crate::domain::ids::{DeviceId, DeviceKey};
use crate::domain::time::Timestamp;
use crate::http::api::Api;
use crate::http::api::extract::{Call, NoBody};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Said, Seconds, Whole, Words};
use crate::http::api::problem::Problem;
use crate::http::api::route::Found;
use crate::store::reads::quarantine::Place;
use crate::store::reads::telemetry::{self, Bucket, Range, Row};

/// The span when none is named, in seconds: a day.
const SPAN: i64 = 86_400;

/// Buckets of one answer.
const BUCKETS_MAX: f64 = 1000.0;

/// Which latest row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latest {
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Said<Words>>,
}

/// Which page of a tenant's devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatestOfEach {
    /// How many devices are looked at; those that sent nothing are left out.
    #[serde(default)]
    limit: Said<Limit>,
    /// The `next` of the page before.
    cursor: Option<Said<DeviceId>>,
}

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rows {
    /// From this moment on; a day before `to` when not given.
    from: Option<Said<Timestamp>>,
    /// Before this moment; now when not given.
    to: Option<Said<Timestamp>>,
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Said<Words>>,
    #[serde(default)]
    limit: Said<Limit>,
    /// The `next` of the page before.
    cursor: Option<Said<Place>>,
}

/// Which buckets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gathered {
    /// The metric's name, a key of `metrics`.
    metric: Said<Words>,
    /// How long a bucket is, in seconds; the whole span has at most 1000 of them.
    step: Said<Seconds>,
    /// From this moment on, where the first bucket begins; a day before `to` when not given.
    from: Option<Said<Timestamp>>,
    /// Before this moment; now when not given.
    to: Option<Said<Timestamp>>,
    /// Only of this type, such as `telemetry/engine`.
    msg_type: Option<Said<Words>>,
}

/// A metric over time.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Buckets {
    metric: String,
    step_seconds: u32,
    /// In the order of time; those without a number are left out.
    items: Vec<Bucket>,
}

pub(crate) async fn latest(api: Api, call: Call<Which, Latest, NoBody>) -> Result<Found<Row>, Problem> {
    let (device, msg_type) = (call.path.key(), words(call.query.msg_type));
    let row = telemetry::latest(api.database.pool(), &device, msg_type.as_deref()).await?;
    row.map(Found).ok_or_else(|| Problem::not_found(format!("there is no such telemetry of device {device}")))
}

pub(crate) async fn latest_of_each(
    api: Api,
    call: Call<tenants::Which, LatestOfEach, NoBody>,
) -> Result<Found<Page<Row>>, Problem> {
    let LatestOfEach { limit: Said(Limit(limit)), cursor } = call.query;
    let after = cursor.map(|Said(device)| device);
    let asked = telemetry::latest_of_each(api.database.pool(), &call.path.tenant.0, after.as_ref(), limit);
    let (items, next) = asked.await?;
    Ok(Found(Page { items, next }))
}

pub(crate) async fn range(api: Api, call: Call<Which, Rows, NoBody>) -> Result<Found<Page<Row>>, Problem> {
    let Rows { from, to, msg_type, limit: Said(Limit(limit)), cursor } = call.query;
    let range = span(call.path.key(), from, to, msg_type)?;
    let after = cursor.map(|Said(place)| place);
    let rows = telemetry::range(api.database.pool(), &range, after, Page::<Row>::fetch(limit)).await?;
    Ok(Found(Page::new(rows, limit, |last| last.place().to_string())))
}

pub(crate) async fn buckets(api: Api, call: Call<Which, Gathered, NoBody>) -> Result<Found<Buckets>, Problem> {
    let Gathered { metric: Said(Words(metric)), step: Said(Whole(step)), from, to, msg_type } = call.query;
    let range = span(call.path.key(), from, to, msg_type)?;
    if range.to.seconds_since(range.from) / f64::from(step) > BUCKETS_MAX {
        return Err(Problem::field("step", "the span has more than 1000 of these: make the step longer"));
    }
    let step_seconds = step;
    let step = Duration::from_secs(step.into());
    let items = telemetry::buckets(api.database.pool(), &range, &metric, step).await?;
    Ok(Found(Buckets { metric, step_seconds, items }))
}

// === private helpers ===

fn span(
    device: DeviceKey,
    from: Option<Said<Timestamp>>,
    to: Option<Said<Timestamp>>,
    msg_type: Option<Said<Words>>,
) -> Result<Range, Problem> {
    let to = to.map_or_else(clock::now, |Said(to)| to);
    let from = from.map_or_else(|| to.plus_seconds(-SPAN), |Said(from)| from);
    if from >= to {
        return Err(Problem::field("from", "it must lie before `to`"));
    }
    Ok(Range { device, from, to, msg_type: words(msg_type) })
}

fn words(said: Option<Said<Words>>) -> Option<String> {
    said.map(|Said(Words(text))| text)
}
