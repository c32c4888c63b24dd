//! `device`: what the registry knows of the device that asks, and the limits that apply to it.
//!
//! It shows neither a token nor its hash, and no other device.

use serde::Serialize;
use serde_json::{Value, json};

use super::call::DeviceCall;
use super::reply::{ReplyResult, RouteAnswer};
use super::request::MAX_REQUEST;
use crate::config::Config;
use crate::http::api::extract::NoParams;
use crate::http::api::problem::Problem;
use crate::http::views::devices::DeviceDetailView;
use crate::store::certificates::inventory::{self, CertificateFilter};
use crate::store::certificates::{CertificateRow, CertificateStatus};
use crate::store::registry::devices;

/// The ACTIVE certificates that the response shows.
const CERTIFICATES_MAX: u32 = 8;

/// The registry's row, and what the device needs to know besides.
#[derive(Serialize)]
struct OwnDevice {
    #[serde(flatten)]
    device: DeviceDetailView,
    active_certificates: Vec<Value>,
    limits: Value,
}

pub(super) async fn answer(call: &DeviceCall<'_>) -> ReplyResult {
    let NoParams {} = call.params()?;
    let pool = call.services.database.pool();
    let device = devices::show(pool, call.device).await.map_err(Problem::from)?.into();
    let filter = CertificateFilter {
        device: Some(call.device.clone()),
        status: Some(CertificateStatus::Active),
        ..CertificateFilter::default()
    };
    let rows = inventory::list(pool, &filter, CERTIFICATES_MAX).await.map_err(Problem::from)?;
    let own = OwnDevice {
        device,
        active_certificates: rows.iter().map(certificate).collect(),
        limits: limits(&call.services.config),
    };
    RouteAnswer::json(&own)
}

fn certificate(row: &CertificateRow) -> Value {
    json!({
        "id": row.id,
        "fingerprint_sha256": row.fingerprint_sha256,
        "status": row.status,
        "not_before": row.not_before,
        "not_after": row.not_after,
        "retire_at": row.retire_at,
    })
}

/// What a message and a request of the device may have, by the names of the settings in lower case.
fn limits(config: &Config) -> Value {
    let (ingest, api) = (&config.ingest, &config.mqtt_api);
    json!({
        "max_payload_bytes": ingest.max_payload_bytes,
        "max_json_depth": ingest.max_json_depth,
        "max_metrics": ingest.max_metrics,
        "max_clock_skew_seconds": ingest.max_clock_skew_seconds,
        "max_age_days": ingest.max_age_days,
        "rate_limit_rps": ingest.rate_limit.map(|limit| limit.per_second),
        "rate_limit_burst": ingest.rate_limit.map(|limit| limit.burst),
        "device_api_rps": api.device_rps,
        "device_api_burst": api.device_burst,
        "max_request_bytes": MAX_REQUEST,
    })
}
