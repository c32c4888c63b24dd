//! Desired and reported documents: one device's, a list of those that are not in sync, and changes
//! of the desired document.
//!
//! A change takes effect only on the version that its caller has read: the comparison is in the
//! statement. Triggers count the version and wake the publisher. Whether a document is in sync is
//! decided by one function of the database, which every reader uses.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::command_changes::AUDITED_BYTES;
use super::commands::outage;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::ports::Outage;
use crate::store::registry::audit::Actor;

/// What a device should be and what it says it is.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ShadowRow {
    /// Its tenant.
    pub tenant_id: String,
    /// Its name.
    pub device_id: String,
    /// The desired document; numbers are exact.
    #[sqlx(json(nullable))]
    pub desired: Option<Box<RawValue>>,
    /// Its version; 0 before the first.
    pub desired_version: i64,
    /// When it was last changed.
    pub desired_at: Option<DateTime<Utc>>,
    /// What the device reported last.
    #[sqlx(json(nullable))]
    pub reported: Option<Box<RawValue>>,
    /// The version that the device gave its report.
    pub reported_version: Option<i64>,
    /// When the report was received.
    pub reported_at: Option<DateTime<Utc>>,
    /// The parts of the desired document that the report lacks.
    #[sqlx(json)]
    pub delta: Box<RawValue>,
    /// Whether the delta is empty.
    pub in_sync: bool,
}

/// Which documents to list.
#[derive(Clone, Debug)]
pub struct ShadowFilter {
    /// Of this tenant.
    pub tenant: TenantId,
    /// Only those that are in sync, or only those that are not.
    pub in_sync: Option<bool>,
    /// After this device, in the order of the list.
    pub after: Option<String>,
}

/// A page of shadows.
#[derive(Clone, Debug)]
pub struct ShadowRows {
    /// The shadows.
    pub rows: Vec<ShadowRow>,
    /// The last device whose documents were compared, if devices may follow it. The next page
    /// begins there even if this one has few rows.
    pub compared_to: Option<String>,
}

/// What became of a change.
#[derive(Clone, Debug)]
pub enum DesiredChange {
    /// It was made, or the document is equal to the stored one. The documents after it, as its
    /// statement wrote them: another change may follow at once.
    Done(Box<ShadowRow>),
    /// The document has another version by now.
    Raced,
}

/// The columns of a [`ShadowRow`].
macro_rules! shadow_columns {
    () => {
        "tenant_id, device_id, desired, desired_version, desired_at, reported, reported_version, reported_at, delta, in_sync"
    };
}

/// The most devices whose documents are compared for one page.
const COMPARED_MAX: i64 = 1_000;

const COMPARED_TO: &str = "SELECT device_id FROM devices WHERE tenant_id = $1 AND device_id > $2
     ORDER BY device_id OFFSET $3 LIMIT 1";

const SHOW: &str = concat!(
    "SELECT ",
    shadow_columns!(),
    " FROM device_shadows WHERE tenant_id = $1 AND device_id = $2"
);

/// The device is locked against its removal: a wish must not outlive it. A document of the expected
/// version is replaced; without a row there is version 0.
const SET: &str = concat!(
    "WITH device AS MATERIALIZED (
         SELECT 1 FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR KEY SHARE),
     changed AS (
         INSERT INTO device_state AS s (tenant_id, device_id, desired) SELECT $1, $2, $3 FROM device
         WHERE $4 = 0 OR EXISTS (SELECT FROM device_state WHERE tenant_id = $1 AND device_id = $2)
         ON CONFLICT (tenant_id, device_id) DO UPDATE SET desired = excluded.desired
             WHERE coalesce(s.desired_version, 0) = $4
         RETURNING tenant_id, device_id, desired, coalesce(desired_version, 0) AS desired_version, desired_at,
             reported, reported_version, reported_at, coalesce(sluice_shadow_delta(desired, reported), '{}') AS delta,
             sluice_shadow_delta(desired, reported) IS NULL AS in_sync),
     logged AS (
         INSERT INTO audit_log (actor, action, tenant_id, device_id, detail)
         SELECT $5, $6, $1, $2, jsonb_build_object('from', $4, 'to', desired_version,
             'desired', CASE WHEN octet_length(desired::text) <= $7 THEN desired END) FROM changed
         WHERE desired_version <> $4)
     SELECT ",
    shadow_columns!(),
    " FROM changed"
);

/// Reads the documents of one device. `None`: it is not registered.
pub async fn show(pool: &PgPool, device: &DeviceKey) -> Result<Option<ShadowRow>, Outage> {
    sqlx::query_as(SHOW)
        .bind(device.tenant())
        .bind(device.device())
        .fetch_optional(pool)
        .await
        .map_err(outage)
}

/// Lists a page of the documents of a tenant's devices, sorted by device.
pub async fn list(pool: &PgPool, filter: &ShadowFilter, limit: u32) -> Result<ShadowRows, Outage> {
    let compared_to: Option<String> = match filter.in_sync {
        None => None,
        Some(_) => sqlx::query_scalar(COMPARED_TO)
            .bind(filter.tenant.as_str())
            .bind(filter.after.as_deref().unwrap_or_default())
            .bind(COMPARED_MAX - 1)
            .fetch_optional(pool)
            .await
            .map_err(outage)?,
    };
    let mut query = QueryBuilder::<Postgres>::new(concat!(
        "SELECT ",
        shadow_columns!(),
        " FROM device_shadows WHERE tenant_id = "
    ));
    query.push_bind(filter.tenant.as_str());
    if let Some(in_sync) = filter.in_sync {
        query.push(if in_sync { " AND in_sync" } else { " AND NOT in_sync" });
    }
    if let Some(after) = &filter.after {
        query.push(" AND device_id > ").push_bind(after.clone());
    }
    if let Some(last) = &compared_to {
        query.push(" AND device_id <= ").push_bind(last.clone());
    }
    query.push(" ORDER BY device_id LIMIT ").push_bind(i64::from(limit));
    let rows = query.build_query_as().fetch_all(pool).await.map_err(outage)?;
    Ok(ShadowRows { rows, compared_to })
}

/// Sets the desired document, or clears it, if its version is `expected`. `action` names the change
/// in the audit log.
pub async fn set_desired(
    pool: &PgPool,
    actor: &Actor,
    device: &DeviceKey,
    desired: Option<&RawValue>,
    expected: i64,
    action: &'static str,
) -> Result<DesiredChange, Outage> {
    let changed: Option<ShadowRow> = sqlx::query_as(SET)
        .bind(device.tenant())
        .bind(device.device())
        .bind(desired.map(Json))
        .bind(expected)
        .bind(actor.as_str())
        .bind(action)
        .bind(AUDITED_BYTES)
        .fetch_optional(pool)
        .await
        .map_err(outage)?;
    Ok(changed.map_or(DesiredChange::Raced, |row| DesiredChange::Done(Box::new(row))))
}
