//! `shadow`: the desired and the reported document of the device that asks.
//!
//! A device that names the version it has gets no documents if that version is current.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::call::DeviceCall;
use super::reply::{Rejection, ReplyResult, RouteAnswer};
use crate::downlink::shadow::{self, ShadowError};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::store::downlink::shadows::ShadowRow;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowParams {
    /// The version of the desired document that the device has.
    version: Option<i64>,
}

/// What the device gets without the documents.
#[derive(Serialize)]
struct CurrentVersion {
    desired_version: i64,
}

/// Both documents.
#[derive(Serialize)]
struct OwnShadow<'a> {
    desired: Option<&'a RawValue>,
    desired_version: i64,
    desired_at: Option<DateTime<Utc>>,
    reported: Option<&'a RawValue>,
    reported_version: Option<i64>,
    reported_at: Option<DateTime<Utc>>,
    delta: &'a RawValue,
    in_sync: bool,
}

pub(super) async fn answer(call: &DeviceCall<'_>) -> ReplyResult {
    let ShadowParams { version } = call.params()?;
    let actor = call.actor();
    let row = shadow::show(call.downlink(&actor), call.device).await.map_err(rejection)?;
    let desired_version = row.desired_version;
    if version == Some(desired_version) {
        return RouteAnswer::json(&CurrentVersion { desired_version })
            .map(RouteAnswer::not_modified);
    }
    RouteAnswer::json(&OwnShadow::from(&row))
}

fn rejection(error: ShadowError) -> Rejection {
    match error {
        ShadowError::Outage(outage) => Problem::from(outage).into(),
        other => Problem::new(ProblemKind::Conflict, other.to_string()).into(),
    }
}

// === impl OwnShadow ===

impl<'a> From<&'a ShadowRow> for OwnShadow<'a> {
    fn from(row: &'a ShadowRow) -> Self {
        Self {
            desired: row.desired.as_deref(),
            desired_version: row.desired_version,
            desired_at: row.desired_at,
            reported: row.reported.as_deref(),
            reported_version: row.reported_version,
            reported_at: row.reported_at,
            delta: &row.delta,
            in_sync: row.in_sync,
        }
    }
}
