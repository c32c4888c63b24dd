//! Batches of commands: one command for many devices by one statement, its progress, its end.
//!
//! A command of a batch has an identifier made of the batch and the device, so that a batch cannot
//! reach a device twice. An audit entry is written in the statement of its change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::command_changes::AUDITED_BYTES;
use super::commands::outage;
use crate::domain::command::{CommandStatus, CommandType};
use crate::domain::ids::TenantId;
use crate::domain::ports::Outage;
use crate::store::registry::audit::Actor;
use crate::store::registry::tenants::TenantStatus;

/// Which ACTIVE devices of a tenant get a command; all conditions hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandTargets {
    /// One of these; `None`: all.
    pub devices: Option<Vec<String>>,
    /// Of this site.
    pub site: Option<String>,
    /// Whose metadata contains this object.
    pub metadata: Option<Map<String, Value>>,
}

/// A command to add for many devices.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// The tenant.
    pub tenant: TenantId,
    /// Which of its devices.
    pub targets: CommandTargets,
    /// The batch's identifier.
    pub batch_id: Uuid,
    /// The type of the command.
    pub command_type: CommandType,
    /// Its parameters: a JSON object.
    pub params: Map<String, Value>,
    /// How long it is valid, from now.
    pub ttl: Duration,
    /// The most devices.
    pub max: u32,
}

/// What became of a batch to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedBatch {
    /// Its commands were added.
    Added {
        /// The number of commands.
        queued: i64,
        /// The number of devices that match and are not ACTIVE.
        skipped: i64,
    },
    /// The tenant has a batch with this identifier.
    Exists {
        /// Whether its type and parameters are the same.
        is_same: bool,
    },
    /// More devices match than a batch may have. Nothing was added.
    TooMany {
        /// The number of ACTIVE devices that match.
        matched: i64,
    },
    /// The tenant is not ACTIVE.
    Suspended,
    /// There is no such tenant.
    NoTenant,
}

/// A batch and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchProgress {
    /// The tenant of its devices.
    pub tenant_id: String,
    /// Its identifier.
    pub batch_id: Uuid,
    /// The type of its commands.
    pub command_type: String,
    /// When it was queued.
    pub created_at: DateTime<Utc>,
    /// Until when its commands are valid.
    pub expires_at: Option<DateTime<Utc>>,
    /// The number of its commands.
    pub commands: i64,
    /// The number of its commands that are not final.
    pub open: i64,
    /// The number of its commands in each state; a state without commands is absent.
    pub statuses: BTreeMap<Cow<'static, str>, i64>,
    /// When its last command became final. `None` while one is open.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The devices of the targets.
macro_rules! matched {
    () => {
        "FROM devices WHERE tenant_id = $1 AND ($2::text[] IS NULL OR device_id = ANY ($2))
             AND ($3::text IS NULL OR site_id = $3) AND ($4::jsonb IS NULL OR metadata @> $4)"
    };
}

/// Nothing is added if too many devices match. The others are locked against their removal: a
/// command must not outlive its device.
const ADD: &str = concat!(
    "WITH counted AS MATERIALIZED (
         SELECT count(*) FILTER (WHERE status = 'ACTIVE') AS active, count(*) FILTER (WHERE status <> 'ACTIVE') AS skipped ",
    matched!(),
    "), locked AS MATERIALIZED (SELECT device_id ",
    matched!(),
    " AND status = 'ACTIVE' AND (SELECT active FROM counted) <= $5 ORDER BY device_id FOR KEY SHARE),
     added AS (
         INSERT INTO device_commands (tenant_id, device_id, command_id, command_type, params, batch_id, expires_at)
         SELECT $1, device_id, md5($6::text || '/' || device_id)::uuid, $7, $8, $6, now() + make_interval(secs => $9)
         FROM locked ON CONFLICT DO NOTHING RETURNING expires_at),
     queued AS (SELECT count(*) AS commands, max(expires_at) AS expires_at FROM added),
     logged AS (
         INSERT INTO audit_log (actor, action, tenant_id, detail)
         SELECT $10, 'command.queue-batch', $1, jsonb_build_object('batch_id', $6, 'command_type', $7,
             'params', CASE WHEN octet_length($8::text) <= $11 THEN $8 END, 'targets', $12::jsonb,
             'commands', commands, 'expires_at', expires_at)
         FROM queued WHERE commands > 0)
     SELECT active, skipped, commands FROM counted, queued"
);

/// One command of a batch stands for all: they have the same content.
const SAME: &str = "SELECT command_type = $3 AND params = $4 FROM device_commands
     WHERE tenant_id = $1 AND batch_id = $2 LIMIT 1";

const PROGRESS: &str =
    "SELECT status, count(*), min(command_type), min(created_at), max(expires_at), max(finished_at)
     FROM device_commands WHERE tenant_id = $1 AND batch_id = $2 GROUP BY status";

/// Locks in the order of the key, as the writer of acknowledgements does.
const CANCEL: &str = "WITH open AS MATERIALIZED (
         SELECT device_id, command_id FROM device_commands
         WHERE tenant_id = $1 AND batch_id = $2 AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')
         ORDER BY device_id, command_id FOR UPDATE),
     cancelled AS (
         UPDATE device_commands c SET status = 'CANCELLED', finished_at = now() FROM open o
         WHERE c.tenant_id = $1 AND c.device_id = o.device_id AND c.command_id = o.command_id RETURNING 1),
     counted AS (SELECT count(*) AS commands FROM cancelled),
     logged AS (
         INSERT INTO audit_log (actor, action, tenant_id, detail)
         SELECT $3, 'command.cancel-batch', $1, jsonb_build_object('batch_id', $2, 'commands', commands)
         FROM counted WHERE commands > 0)
     SELECT commands FROM counted";

/// Adds the commands of a batch, unless the tenant has one with its identifier.
pub async fn add(pool: &PgPool, actor: &Actor, new: &NewBatch) -> Result<AddedBatch, Outage> {
    let add = async {
        let (tenant, params) = (new.tenant.as_str(), Value::Object(new.params.clone()));
        let status: Option<TenantStatus> =
            sqlx::query_scalar("SELECT status FROM tenants WHERE tenant_id = $1")
                .bind(tenant)
                .fetch_optional(pool)
                .await?;
        let Some(status) = status else { return Ok(AddedBatch::NoTenant) };
        if let Some(is_same) = find_same(pool, new, &params).await? {
            return Ok(AddedBatch::Exists { is_same });
        }
        if status != TenantStatus::Active {
            return Ok(AddedBatch::Suspended);
        }
        let (active, skipped, queued): (i64, i64, i64) = sqlx::query_as(ADD)
            .bind(tenant)
            .bind(new.targets.devices.as_ref())
            .bind(new.targets.site.as_ref())
            .bind(new.targets.metadata.clone().map(Value::Object))
            .bind(i64::from(new.max))
            .bind(new.batch_id)
            .bind(new.command_type.as_str())
            .bind(&params)
            .bind(new.ttl.as_secs_f64())
            .bind(actor.as_str())
            .bind(AUDITED_BYTES)
            .bind(new.targets.describe())
            .fetch_one(pool)
            .await?;
        if active > i64::from(new.max) {
            return Ok(AddedBatch::TooMany { matched: active });
        }
        // An equal request was faster.
        if queued == 0
            && active > 0
            && let Some(is_same) = find_same(pool, new, &params).await?
        {
            return Ok(AddedBatch::Exists { is_same });
        }
        Ok(AddedBatch::Added { queued, skipped })
    };
    add.await.map_err(outage)
}

/// How far a batch is. `None`: the tenant has no command of it.
pub async fn progress(
    pool: &PgPool,
    tenant: &TenantId,
    batch_id: Uuid,
) -> Result<Option<BatchProgress>, Outage> {
    let rows: Vec<StatusRow> = sqlx::query_as(PROGRESS)
        .bind(tenant.as_str())
        .bind(batch_id)
        .fetch_all(pool)
        .await
        .map_err(outage)?;
    Ok(summed(tenant, batch_id, &rows))
}

/// Cancels the open commands of a batch; returns their number.
pub async fn cancel(
    pool: &PgPool,
    actor: &Actor,
    tenant: &TenantId,
    batch_id: Uuid,
) -> Result<i64, Outage> {
    sqlx::query_scalar(CANCEL)
        .bind(tenant.as_str())
        .bind(batch_id)
        .bind(actor.as_str())
        .fetch_one(pool)
        .await
        .map_err(outage)
}

// === impl CommandTargets ===

impl CommandTargets {
    /// The number of devices that are named, each once.
    pub fn named(&self) -> Option<i64> {
        let devices: BTreeSet<_> = self.devices.as_ref()?.iter().collect();
        i64::try_from(devices.len()).ok()
    }

    /// The conditions as the detail of an audit entry.
    fn describe(&self) -> Value {
        json!({
            "devices": self.devices.as_ref().map(Vec::len),
            "site": self.site,
            "metadata": self.metadata,
        })
    }
}

// === private helpers ===

/// Whether the batch with the identifier of `new` has the same content, if there is one.
async fn find_same(
    pool: &PgPool,
    new: &NewBatch,
    params: &Value,
) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar(SAME)
        .bind(new.tenant.as_str())
        .bind(new.batch_id)
        .bind(new.command_type.as_str())
        .bind(params)
        .fetch_optional(pool)
        .await
}

/// Status, commands, type, queued, valid until, finished.
type StatusRow =
    (CommandStatus, i64, String, DateTime<Utc>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

fn summed(tenant: &TenantId, batch_id: Uuid, rows: &[StatusRow]) -> Option<BatchProgress> {
    let (_, _, command_type, created_at, expires_at, _) = rows.first()?;
    let open = rows.iter().filter(|row| row.0.is_open()).map(|row| row.1).sum();
    let finished_at = rows.iter().filter_map(|row| row.5).max();
    Some(BatchProgress {
        tenant_id: tenant.to_string(),
        batch_id,
        command_type: command_type.clone(),
        created_at: *created_at,
        expires_at: *expires_at,
        commands: rows.iter().map(|row| row.1).sum(),
        open,
        statuses: rows.iter().map(|row| (row.0.label().into(), row.1)).collect(),
        finished_at: finished_at.filter(|_| open == 0),
    })
}
