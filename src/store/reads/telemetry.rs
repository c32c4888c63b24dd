//! Reads telemetry: the latest row, a range in pages, and a metric in time buckets.
//!
//! It writes nothing. Every answer has a bounded number of rows, and every query a time limit.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::link::LinkName;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::error::StoreError;
use crate::store::quarantine::cursor::QuarantineCursor;

/// Time limit of a query: people wait for it, and the write path shares the server.
const PATIENCE: &str = "SET LOCAL statement_timeout = '10s'";

/// A row of `telemetry`.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct TelemetryRow {
    /// The device's time, or the time of receipt.
    pub time: DateTime<Utc>,
    /// The time of receipt.
    pub received_at: DateTime<Utc>,
    /// Its tenant.
    pub tenant_id: String,
    /// Its device.
    pub device_id: String,
    /// Its site.
    pub site_id: Option<String>,
    /// The topic's path after the device.
    pub msg_type: String,
    /// The device's sequence number.
    pub seq: Option<i64>,
    /// The metrics; numbers are exact.
    #[sqlx(json)]
    pub metrics: Box<RawValue>,
    /// Unknown fields of the payload, if Sluice keeps them.
    #[sqlx(json(nullable))]
    pub extra: Option<Box<RawValue>>,
    /// Hash that identifies the message.
    pub message_id: Uuid,
    /// The link that the message came from.
    pub link: Option<String>,
    /// The certificate that the publisher is proven to have logged in with.
    pub certificate_id: Option<Uuid>,
}

/// How far back to look for the latest row of a device, in seconds: most devices have one in the
/// first range, which reads a few of the many partitions. `None`: all rows.
const LATEST_RANGES: [Option<i64>; 3] = [Some(2 * 86_400), Some(10 * 86_400), None];

/// Which rows of a device.
#[derive(Clone, Debug)]
pub struct TelemetryRange {
    /// The device.
    pub device: DeviceKey,
    /// From this time on.
    pub from: Timestamp,
    /// Before this time.
    pub to: Timestamp,
    /// Of this type.
    pub msg_type: Option<String>,
    /// Received over this link.
    pub link: Option<LinkName>,
}

/// The order of the rows of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// By time, ascending.
    OldestFirst,
    /// By time, descending.
    NewestFirst,
}

/// A metric in one interval.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct MetricBucket {
    /// The start of the interval.
    pub start: DateTime<Utc>,
    /// Number of values.
    pub count: i64,
    /// Average of the values.
    pub avg: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
}

/// The columns of a [`TelemetryRow`].
macro_rules! columns {
    () => {
        "time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, extra, message_id, link, \
        certificate_id"
    };
}

const LATEST_OF_ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM telemetry WHERE tenant_id = $1 AND device_id = $2 AND time >= coalesce($3, '-infinity'::timestamptz) \
    ORDER BY time DESC, message_id DESC LIMIT 1"
);

/// Reads the latest row of a device, of `msg_type` or of any type.
pub async fn latest(
    pool: &PgPool,
    device: &DeviceKey,
    msg_type: Option<&str>,
) -> Result<Option<TelemetryRow>, Outage> {
    let rows = async {
        let mut tx = begin(pool).await?;
        sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM telemetry WHERE tenant_id = $1 AND device_id = $2 AND ($3::text IS NULL OR msg_type = $3)
              ORDER BY time DESC, message_id DESC LIMIT 1"
        ))
        .bind(device.tenant())
        .bind(device.device())
        .bind(msg_type)
        .fetch_optional(&mut *tx)
        .await
    };
    rows.await.map_err(outage)
}

/// Reads the latest row of each device of a page, sorted by name. Devices without rows are omitted,
/// so a page may have fewer rows than `limit`. Also returns the last device read, when there may be
/// more.
pub async fn latest_of_each(
    pool: &PgPool,
    layout: TelemetryLayout,
    tenant: &TenantId,
    after: Option<&DeviceId>,
    limit: u32,
    now: Timestamp,
) -> Result<(Vec<TelemetryRow>, Option<String>), Outage> {
    let rows = async {
        let mut tx = begin(pool).await?;
        let mut devices: Vec<String> = sqlx::query_scalar(
            "SELECT device_id FROM devices WHERE tenant_id = $1 AND device_id > $2 ORDER BY device_id LIMIT $3",
        )
        .bind(tenant.as_str())
        .bind(after.map_or("", DeviceId::as_str))
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *tx)
        .await?;
        let has_more = devices.len() > limit as usize;
        devices.truncate(limit as usize);
        let last = devices.last().cloned().filter(|_| has_more);
        let rows = if layout == TelemetryLayout::Distributed {
            latest_one_by_one(&mut tx, tenant, devices, now).await?
        } else {
            latest_of(&mut tx, tenant, devices, now).await?
        };
        Ok((rows, last))
    };
    rows.await.map_err(outage)
}

/// The latest row of each of these devices of a tenant, sorted by name. A row that is found in a
/// range is the latest of all: the others are older.
async fn latest_of(
    tx: &mut PgConnection,
    tenant: &TenantId,
    mut devices: Vec<String>,
    now: Timestamp,
) -> Result<Vec<TelemetryRow>, sqlx::Error> {
    let mut found: Vec<TelemetryRow> = Vec::new();
    for range in LATEST_RANGES {
        if devices.is_empty() {
            break;
        }
        let mut query = QueryBuilder::<Postgres>::new("SELECT newest.* FROM unnest(");
        query.push_bind(&devices).push("::text[]) requested (name), LATERAL (SELECT ");
        query
            .push(columns!())
            .push(" FROM telemetry WHERE tenant_id = ")
            .push_bind(tenant.as_str());
        query.push(" AND device_id = requested.name");
        if let Some(seconds) = range {
            query.push(" AND time >= ").push_bind(now.plus_seconds(-seconds).to_utc());
        }
        query.push(" ORDER BY time DESC, message_id DESC LIMIT 1) newest");
        let rows: Vec<TelemetryRow> = query.build_query_as().fetch_all(&mut *tx).await?;
        let names: HashSet<&str> = rows.iter().map(|row| row.device_id.as_str()).collect();
        devices.retain(|device| !names.contains(device.as_str()));
        found.extend(rows);
    }
    found.sort_by(|one, other| one.device_id.cmp(&other.device_id));
    Ok(found)
}

/// The same with a query for each device: Citus cannot plan a query that looks into its nodes for each
/// row of a list.
async fn latest_one_by_one(
    tx: &mut PgConnection,
    tenant: &TenantId,
    devices: Vec<String>,
    now: Timestamp,
) -> Result<Vec<TelemetryRow>, sqlx::Error> {
    let mut found = Vec::new();
    for device in devices {
        for range in LATEST_RANGES {
            let since = range.map(|seconds| now.plus_seconds(-seconds).to_utc());
            let query = sqlx::query_as(LATEST_OF_ONE).bind(tenant.as_str()).bind(&device);
            let row: Option<TelemetryRow> = query.bind(since).fetch_optional(&mut *tx).await?;
            if row.is_some() {
                found.extend(row);
                break;
            }
        }
    }
    Ok(found)
}

/// Reads a page of rows after `after` in this order.
pub async fn range(
    pool: &PgPool,
    range: &TelemetryRange,
    order: RowOrder,
    after: Option<QuarantineCursor>,
    limit: u32,
) -> Result<Vec<TelemetryRow>, Outage> {
    let mut query =
        QueryBuilder::<Postgres>::new(concat!("SELECT ", columns!(), " FROM telemetry WHERE "));
    range.push_to(&mut query);
    if let Some(after) = after {
        query.push(match order {
            RowOrder::OldestFirst => " AND (time, message_id) > (",
            RowOrder::NewestFirst => " AND (time, message_id) < (",
        });
        query.push_bind(after.at.to_utc()).push(", ").push_bind(after.id).push(")");
    }
    query.push(match order {
        RowOrder::OldestFirst => " ORDER BY time, message_id LIMIT ",
        RowOrder::NewestFirst => " ORDER BY time DESC, message_id DESC LIMIT ",
    });
    query.push_bind(i64::from(limit));
    let rows = async { query.build_query_as().fetch_all(&mut *begin(pool).await?).await };
    rows.await.map_err(outage)
}

/// Aggregates a metric into buckets of `step` from the start of the range; a bucket without numbers
/// is omitted. It skips values that are no numbers, and numbers beyond any measurement (1e100 and
/// more).
pub async fn buckets(
    pool: &PgPool,
    range: &TelemetryRange,
    metric: &str,
    step: Duration,
) -> Result<Vec<MetricBucket>, Outage> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT date_bin(make_interval(secs => ");
    query.push_bind(step.as_secs_f64()).push("), time, ").push_bind(range.from.to_utc());
    query.push(") AS start, count(v) AS count, avg(v) AS avg, min(v) AS min, max(v) AS max FROM (SELECT time, CASE WHEN jsonb_typeof(metrics -> ");
    query.push_bind(metric).push(") = 'number' THEN (metrics -> ").push_bind(metric);
    query.push(")::numeric END AS n FROM telemetry WHERE ");
    range.push_to(&mut query);
    // Beyond these bounds a cast or a sum of squares would fail the whole query.
    query.push(
        ") raw, LATERAL (SELECT CASE WHEN abs(n) < 1e-100 THEN 0 WHEN abs(n) < 1e100 THEN n END::float8 AS v) numbers
         WHERE v IS NOT NULL GROUP BY 1 ORDER BY 1",
    );
    let rows = async { query.build_query_as().fetch_all(&mut *begin(pool).await?).await };
    rows.await.map_err(outage)
}

// === impl TelemetryRow ===

impl TelemetryRow {
    /// Its position in time order.
    pub fn place(&self) -> QuarantineCursor {
        QuarantineCursor { at: self.time.into(), id: self.message_id }
    }
}

// === impl TelemetryRange ===

impl TelemetryRange {
    fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("tenant_id = ").push_bind(self.device.tenant().to_string());
        query.push(" AND device_id = ").push_bind(self.device.device().to_string());
        query.push(" AND time >= ").push_bind(self.from.to_utc());
        query.push(" AND time < ").push_bind(self.to.to_utc());
        if let Some(msg_type) = &self.msg_type {
            query.push(" AND msg_type = ").push_bind(msg_type.clone());
        }
        if let Some(link) = &self.link {
            query.push(" AND link = ").push_bind(link.to_string());
        }
    }
}

// === private helpers ===

/// Begins a read-only transaction with a time limit; it is never committed.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(PATIENCE).execute(&mut *tx).await?;
    Ok(tx)
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
