//! Changes `device_commands`, one device at a time: add, cancel, take for the device.
//!
//! An audit entry is written in the statement of its change. It publishes nothing, and does not
//! change a command that is final.

use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::PgPool;
use uuid::Uuid;

use super::commands::{CommandRow, command_columns, outage};
use crate::domain::command::CommandType;
use crate::domain::device::DeviceStatus;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::store::registry::audit::Actor;
use crate::store::registry::tenants::TenantStatus;

/// The most bytes of a document or of parameters that an audit entry repeats.
pub const AUDITED_BYTES: i32 = 1024;

/// A command to add.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// Its device.
    pub device: DeviceKey,
    /// Its identifier; unique for its device.
    pub command_id: Uuid,
    /// Its type.
    pub command_type: CommandType,
    /// Its parameters: a JSON object.
    pub params: Map<String, Value>,
    /// How long it is valid, from now.
    pub ttl: Duration,
}

/// How many commands the device takes at once.
#[derive(Clone, Copy, Debug)]
pub struct TakeRoom {
    /// The most commands.
    pub commands: u32,
    /// The most bytes of all of them.
    pub bytes: u32,
    /// What each needs besides its parameters, in bytes.
    pub bytes_each: u32,
}

/// What became of a command to add.
#[derive(Clone, Debug)]
pub enum AddedCommand {
    /// It was added.
    Added(Box<CommandRow>),
    /// The device has a command with this identifier.
    Exists {
        /// The command of that identifier.
        row: Box<CommandRow>,
        /// Whether its type and parameters are the same.
        is_same: bool,
    },
    /// The device does not get commands.
    Refused {
        /// The status of its tenant.
        tenant: TenantStatus,
        /// The status of the device.
        device: DeviceStatus,
    },
    /// The device is not registered.
    NoDevice,
}

/// A command with the identifier of a new one.
#[derive(sqlx::FromRow)]
struct FoundCommand {
    #[sqlx(flatten)]
    row: CommandRow,
    /// Whether its type and parameters are the same.
    is_same: bool,
}

/// The device is locked against its removal: a command must not outlive it.
const ADD: &str = concat!(
    "WITH device AS MATERIALIZED (
         SELECT d.status FROM devices d JOIN tenants t USING (tenant_id)
         WHERE tenant_id = $1 AND device_id = $2 AND d.status = 'ACTIVE' AND t.status = 'ACTIVE' FOR KEY SHARE OF d),
     added AS (
         INSERT INTO device_commands AS c (tenant_id, device_id, command_id, command_type, params, expires_at)
         SELECT $1, $2, $3, $4, $5, now() + make_interval(secs => $6) FROM device
         ON CONFLICT DO NOTHING RETURNING ",
    command_columns!(),
    "), logged AS (
         INSERT INTO audit_log (actor, action, tenant_id, device_id, detail)
         SELECT $7, 'command.queue', $1, $2, jsonb_build_object('command_id', command_id, 'command_type', command_type,
             'params', CASE WHEN octet_length(params::text) <= $8 THEN params END, 'expires_at', expires_at) FROM added)
     SELECT * FROM added"
);

const STATUSES: &str = "SELECT t.status, d.status FROM devices d JOIN tenants t USING (tenant_id)
     WHERE tenant_id = $1 AND device_id = $2";

const FIND: &str = concat!(
    "SELECT ",
    command_columns!(),
    ", c.command_type = $4 AND c.params = $5 AS is_same FROM device_commands c
     WHERE tenant_id = $1 AND device_id = $2 AND command_id = $3"
);

const CANCEL: &str = concat!(
    "WITH cancelled AS (
         UPDATE device_commands c SET status = 'CANCELLED', finished_at = now()
         WHERE tenant_id = $1 AND device_id = $2 AND command_id = $3 AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')
         RETURNING ",
    command_columns!(),
    "), logged AS (
         INSERT INTO audit_log (actor, action, tenant_id, device_id, detail)
         SELECT $4, 'command.cancel', $1, $2, jsonb_build_object('command_id', command_id, 'command_type', command_type)
         FROM cancelled)
     SELECT * FROM cancelled"
);

/// A command that can never fit is left to the publisher, so that it holds up no other. Locks in the
/// order of the key, as the writer of acknowledgements does. A command that another transaction has
/// locked is taken without counting: the device must not wait for that transaction.
const TAKE: &str = concat!(
    "WITH chosen AS MATERIALIZED (
         SELECT command_id FROM (
             SELECT command_id, sum(bytes) OVER (ORDER BY created_at, position) AS total FROM (
                 SELECT command_id, created_at, position, octet_length(params::text) + $6::bigint AS bytes FROM device_commands
                 WHERE tenant_id = $1 AND device_id = $2 AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')
                 AND coalesce(expires_at, created_at + make_interval(secs => $4)) > now()
                 AND octet_length(params::text) + $6::bigint <= $5::bigint
                 ORDER BY created_at, position LIMIT $3) AS first) AS summed
         WHERE total <= $5::bigint),
     locked AS MATERIALIZED (
         SELECT command_id FROM device_commands JOIN chosen USING (command_id)
         WHERE tenant_id = $1 AND device_id = $2 AND status IN ('PENDING', 'PUBLISHED', 'IN_PROGRESS')
         ORDER BY command_id FOR UPDATE OF device_commands SKIP LOCKED),
     taken AS (
         UPDATE device_commands c SET attempts = c.attempts + 1, published_at = now(),
             status = CASE c.status WHEN 'PENDING' THEN 'PUBLISHED' ELSE c.status END
         FROM locked l WHERE c.tenant_id = $1 AND c.device_id = $2 AND c.command_id = l.command_id
         RETURNING ",
    command_columns!(),
    ") SELECT * FROM taken
     UNION ALL SELECT ",
    command_columns!(),
    " FROM device_commands c JOIN chosen USING (command_id)
         WHERE c.tenant_id = $1 AND c.device_id = $2 AND command_id NOT IN (SELECT command_id FROM locked)
     ORDER BY created_at, position"
);

/// Adds a command, unless the device has one with its identifier or gets none.
pub async fn add(pool: &PgPool, actor: &Actor, new: &NewCommand) -> Result<AddedCommand, Outage> {
    let add = async {
        let (tenant, device) = (new.device.tenant(), new.device.device());
        let params = Value::Object(new.params.clone());
        let added: Option<CommandRow> = sqlx::query_as(ADD)
            .bind(tenant)
            .bind(device)
            .bind(new.command_id)
            .bind(new.command_type.as_str())
            .bind(&params)
            .bind(new.ttl.as_secs_f64())
            .bind(actor.as_str())
            .bind(AUDITED_BYTES)
            .fetch_optional(pool)
            .await?;
        if let Some(row) = added {
            return Ok(AddedCommand::Added(Box::new(row)));
        }
        // A repeat is answered as such whatever the device's status is by now.
        if let Some((row, is_same)) = find(pool, new, &params).await? {
            return Ok(AddedCommand::Exists { row: Box::new(row), is_same });
        }
        let statuses: Option<(TenantStatus, DeviceStatus)> =
            sqlx::query_as(STATUSES).bind(tenant).bind(device).fetch_optional(pool).await?;
        Ok(match statuses {
            Some((tenant, device)) => AddedCommand::Refused { tenant, device },
            None => AddedCommand::NoDevice,
        })
    };
    add.await.map_err(outage)
}

/// Cancels a command. `None`: it is final, or there is none.
pub async fn cancel(
    pool: &PgPool,
    actor: &Actor,
    device: &DeviceKey,
    command_id: Uuid,
) -> Result<Option<CommandRow>, Outage> {
    sqlx::query_as(CANCEL)
        .bind(device.tenant())
        .bind(device.device())
        .bind(command_id)
        .bind(actor.as_str())
        .fetch_optional(pool)
        .await
        .map_err(outage)
}

/// Takes the first open commands of a device that have not expired, in their order, and counts an
/// attempt for each: as many as there is room for. `ttl` is for a command without an end of its own.
pub async fn take_open(
    pool: &PgPool,
    device: &DeviceKey,
    room: TakeRoom,
    ttl: Duration,
) -> Result<Vec<CommandRow>, Outage> {
    sqlx::query_as(TAKE)
        .bind(device.tenant())
        .bind(device.device())
        .bind(i64::from(room.commands))
        .bind(ttl.as_secs_f64())
        .bind(i64::from(room.bytes))
        .bind(i64::from(room.bytes_each))
        .fetch_all(pool)
        .await
        .map_err(outage)
}

// === private helpers ===

/// The command with the identifier of `new`, and whether it has the same content.
async fn find(
    pool: &PgPool,
    new: &NewCommand,
    params: &Value,
) -> Result<Option<(CommandRow, bool)>, sqlx::Error> {
    let found: Option<FoundCommand> = sqlx::query_as(FIND)
        .bind(new.device.tenant())
        .bind(new.device.device())
        .bind(new.command_id)
        .bind(new.command_type.as_str())
        .bind(params)
        .fetch_optional(pool)
        .await?;
    Ok(found.map(|found| (found.row, found.is_same)))
}
