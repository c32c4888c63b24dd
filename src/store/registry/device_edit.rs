//! Changes of a device's status, site and metadata in one transaction, for one version of it.
//!
//! The version is the time of the last change in microseconds: each update sets it by a trigger. It
//! decides nothing; what changed is audited.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::audit::{self, Actor};
use super::devices::{DeviceError, METADATA_MAX, entry};
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::merge_patch;
use crate::domain::time::Timestamp;

/// The largest patch that the audit log repeats, in bytes.
const AUDITED_MAX: usize = 4 * 1024;

/// What to change; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceEdit {
    /// The new status.
    pub status: Option<DeviceStatus>,
    /// The new site, or none.
    #[expect(clippy::option_option, reason = "absent, null and a value differ")]
    pub site: Option<Option<String>>,
    /// A merge patch (RFC 7396) of the metadata.
    pub metadata: Option<Map<String, Value>>,
}

/// What a device has before a change.
#[derive(sqlx::FromRow)]
struct EditedDevice {
    status: DeviceStatus,
    site_id: Option<String>,
    #[sqlx(json)]
    metadata: Box<RawValue>,
    updated_at: DateTime<Utc>,
}

/// Makes the changes, if the device has the version `expected`. What is equal is neither written
/// nor audited.
pub async fn edit(
    pool: &PgPool,
    actor: &Actor,
    key: &DeviceKey,
    edit: &DeviceEdit,
    expected: Option<i64>,
) -> Result<(), DeviceError> {
    let mut tx = pool.begin().await?;
    let before: Option<EditedDevice> = sqlx::query_as(
        "SELECT status, site_id, metadata, updated_at FROM devices WHERE tenant_id = $1 AND device_id = $2 FOR UPDATE",
    )
    .bind(key.tenant())
    .bind(key.device())
    .fetch_optional(&mut *tx)
    .await?;
    let before = before.ok_or_else(|| DeviceError::Unknown(key.clone()))?;
    if expected.is_some_and(|expected| expected != Timestamp::from(before.updated_at).micros()) {
        return Err(DeviceError::Raced(key.clone()));
    }
    let status = edit.status.filter(|status| *status != before.status);
    let site = edit.site.as_ref().filter(|site| **site != before.site_id);
    let metadata = patched(key, &before, edit.metadata.as_ref())?;
    if status.is_none() && site.is_none() && metadata.is_none() {
        return Ok(());
    }
    write(&mut tx, key, status, site, metadata.as_deref()).await?;
    if let Some(status) = status {
        let detail = json!({ "from": before.status, "to": status });
        audit::record(&mut tx, entry(actor, "device.set-status", key, detail)).await?;
    }
    let mut changed = Map::new();
    if let Some(site) = site {
        changed.insert("site_id".to_owned(), json!({ "from": before.site_id, "to": site }));
    }
    if metadata.is_some() {
        changed.insert("metadata".to_owned(), audited(edit.metadata.as_ref()));
    }
    if !changed.is_empty() {
        audit::record(&mut tx, entry(actor, "device.edit", key, Value::Object(changed))).await?;
    }
    Ok(tx.commit().await?)
}

// === private helpers ===

/// The metadata after the patch, if it changes them.
fn patched(
    key: &DeviceKey,
    before: &EditedDevice,
    patch: Option<&Map<String, Value>>,
) -> Result<Option<Box<RawValue>>, DeviceError> {
    let Some(patch) = patch else { return Ok(None) };
    let invalid =
        |error: serde_json::Error| DeviceError::MetadataInvalid(key.clone(), error.to_string());
    let patch = serde_json::value::to_raw_value(patch).map_err(invalid)?;
    let merged = merge_patch::merged(Some(&before.metadata), &patch).map_err(invalid)?;
    if merged.get().len() > METADATA_MAX {
        return Err(DeviceError::MetadataTooLarge(key.clone()));
    }
    // An empty patch gives the members without the spaces that Postgres writes between them.
    let unchanged = serde_json::value::to_raw_value(&Map::new()).map_err(invalid)?;
    let unchanged = merge_patch::merged(Some(&before.metadata), &unchanged).map_err(invalid)?;
    Ok((merged.get() != unchanged.get()).then_some(merged))
}

/// The patch, or the number of its members if it is large.
fn audited(patch: Option<&Map<String, Value>>) -> Value {
    let Some(patch) = patch else { return Value::Null };
    let patch = Value::Object(patch.clone());
    let members = patch.as_object().map_or(0, Map::len);
    if patch.to_string().len() <= AUDITED_MAX { patch } else { json!({ "members": members }) }
}

async fn write(
    tx: &mut PgConnection,
    key: &DeviceKey,
    status: Option<DeviceStatus>,
    site: Option<&Option<String>>,
    metadata: Option<&RawValue>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE devices SET status = coalesce($3, status), site_id = CASE WHEN $4 THEN $5 ELSE site_id END,
             metadata = coalesce($6, metadata) WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(key.tenant())
    .bind(key.device())
    .bind(status)
    .bind(site.is_some())
    .bind(site.cloned().flatten())
    .bind(metadata.map(Json))
    .execute(tx)
    .await
    .map(drop)
}
