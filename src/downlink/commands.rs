//! Commands to one device: queue, list, show, cancel, and hand the open ones to the device.
//!
//! Only an ACTIVE device gets commands. It publishes nothing: a queued command wakes the publisher.

use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::DownlinkContext;
use crate::domain::command::{CommandStatus, CommandType};
use crate::domain::device::DeviceStatus;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::ports::Outage;
use crate::store::downlink::command_changes::{
    self as changes, AddedCommand, NewCommand, TakeRoom,
};
use crate::store::downlink::commands::{self as rows, CommandCursor, CommandFilter, CommandRow};
use crate::store::downlink::stored_json::{STORED_FACTOR, stored_bytes};
use crate::store::error::StoreError;
use crate::store::registry::tenants::TenantStatus;

/// The most bytes of a command's parameters, as compact JSON.
pub const MAX_PARAMS_BYTES: usize = 16 * 1024;

/// The longest validity of a command.
pub const MAX_TTL: Duration = Duration::from_hours(30 * 24);

/// What a device is asked to do.
#[derive(Clone, Debug)]
pub struct CommandContent {
    /// The type of the command.
    pub command_type: CommandType,
    /// Its parameters.
    pub params: Map<String, Value>,
    /// How long it is valid; `None`: `COMMAND_TTL_SECONDS`.
    pub ttl: Option<Duration>,
}

/// A command that is queued now or was queued before.
#[derive(Clone, Debug)]
pub struct QueuedCommand {
    /// The command.
    pub row: CommandRow,
    /// Whether it was queued now.
    pub is_new: bool,
}

/// Why a command was not queued, found or cancelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The device is not registered.
    #[error("device {} not found in tenant {}", .0.device(), .0.tenant())]
    NoDevice(DeviceKey),
    /// The device is INACTIVE or REVOKED.
    #[error("device {device} is {status} and gets no commands")]
    NotActive {
        /// The device.
        device: DeviceKey,
        /// Its status.
        status: DeviceStatus,
    },
    /// The tenant is suspended.
    #[error("tenant {0} is SUSPENDED: its devices get no commands")]
    Suspended(TenantId),
    /// There is no such tenant.
    #[error("tenant {0} not found")]
    NoTenant(TenantId),
    /// The parameters are too large.
    #[error("the parameters have {bytes} bytes, and {MAX_PARAMS_BYTES} are allowed")]
    ParamsTooLarge {
        /// Their size.
        bytes: usize,
    },
    /// Postgres has no place for one of the parameters.
    #[error("Postgres cannot store the parameters: {0}")]
    Params(String),
    /// The validity is zero or too long.
    #[error("a command is valid for 1 second to {} days", MAX_TTL.as_secs() / 86_400)]
    Ttl,
    /// The identifier belongs to another command or batch.
    #[error("{0} is in use with another command type or other parameters")]
    Different(Uuid),
    /// The device has no such command.
    #[error("command {command_id} not found for device {device}")]
    Unknown {
        /// The device.
        device: DeviceKey,
        /// The command.
        command_id: Uuid,
    },
    /// The command is final.
    #[error("command {command_id} is {status}, which is final")]
    Final {
        /// The command.
        command_id: Uuid,
        /// Its state.
        status: CommandStatus,
    },
    /// The tenant has no such batch.
    #[error("batch {batch_id} not found in tenant {tenant}")]
    NoBatch {
        /// The tenant.
        tenant: TenantId,
        /// The batch.
        batch_id: Uuid,
    },
    /// No device of the batch gets commands.
    #[error("no ACTIVE device of tenant {tenant} matches; {skipped} others do")]
    NothingMatched {
        /// The tenant.
        tenant: TenantId,
        /// Devices that match and are not ACTIVE.
        skipped: i64,
    },
    /// Too many devices match.
    #[error("{matched} devices of tenant {tenant} match, and a batch has at most {max}")]
    TooMany {
        /// The tenant.
        tenant: TenantId,
        /// ACTIVE devices that match.
        matched: i64,
        /// The most devices of a batch.
        max: u32,
    },
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// Queues a command. With an identifier that the device has a command of, the same content is the
/// same command.
pub async fn queue(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    command_id: Option<Uuid>,
    order: CommandContent,
) -> Result<QueuedCommand, CommandError> {
    let ttl = order.check(context).await?;
    let CommandContent { command_type, params, .. } = order;
    let command_id = command_id.unwrap_or_else(Uuid::now_v7);
    let new = NewCommand { device: device.clone(), command_id, command_type, params, ttl };
    match changes::add(context.database.pool(), context.actor, &new).await? {
        AddedCommand::Added(row) => Ok(QueuedCommand { row: *row, is_new: true }),
        AddedCommand::Exists { row, is_same: true } => {
            Ok(QueuedCommand { row: *row, is_new: false })
        }
        AddedCommand::Exists { is_same: false, .. } => Err(CommandError::Different(command_id)),
        AddedCommand::NoDevice => Err(CommandError::NoDevice(device.clone())),
        AddedCommand::Refused { tenant: TenantStatus::Suspended, .. } => {
            Err(CommandError::Suspended(device.tenant_id()))
        }
        AddedCommand::Refused { device: status, .. } => {
            Err(CommandError::NotActive { device: device.clone(), status })
        }
    }
}

/// Lists a page of commands before `before`, the newest first.
pub async fn list(
    context: DownlinkContext<'_>,
    filter: &CommandFilter,
    before: Option<CommandCursor>,
    limit: u32,
) -> Result<Vec<CommandRow>, CommandError> {
    Ok(rows::list(context.database.pool(), filter, before, limit).await?)
}

/// Shows a command.
pub async fn show(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    command_id: Uuid,
) -> Result<CommandRow, CommandError> {
    let row = rows::show(context.database.pool(), device, command_id).await?;
    row.ok_or_else(|| CommandError::Unknown { device: device.clone(), command_id })
}

/// Cancels an open command. One that is cancelled stays so.
pub async fn cancel(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    command_id: Uuid,
) -> Result<CommandRow, CommandError> {
    let pool = context.database.pool();
    if let Some(row) = changes::cancel(pool, context.actor, device, command_id).await? {
        return Ok(row);
    }
    let row = show(context, device, command_id).await?;
    match row.status {
        CommandStatus::Cancelled => Ok(row),
        status => Err(CommandError::Final { command_id, status }),
    }
}

/// The open commands of a device in their order, for the device that requests them. It counts as an
/// attempt to deliver each, and keeps to `COMMAND_WINDOW`.
pub async fn open_of(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    room: TakeRoom,
) -> Result<Vec<CommandRow>, CommandError> {
    let commands = room.commands.min(context.settings.command_window);
    let room = TakeRoom { commands, ..room };
    let ttl = context.settings.command_ttl;
    Ok(changes::take_open(context.database.pool(), device, room, ttl).await?)
}

// === impl CommandContent ===

impl CommandContent {
    /// Checks the bounds; returns how long the command is valid.
    pub(super) async fn check(
        &self,
        context: DownlinkContext<'_>,
    ) -> Result<Duration, CommandError> {
        let text = Value::Object(self.params.clone()).to_string();
        if text.len() > MAX_PARAMS_BYTES {
            return Err(CommandError::ParamsTooLarge { bytes: text.len() });
        }
        // A short text may be long parameters: `1e300` has 301 digits.
        match stored_bytes(context.database.pool(), &text).await {
            Ok(bytes) if bytes > MAX_PARAMS_BYTES * STORED_FACTOR => {
                return Err(CommandError::ParamsTooLarge { bytes });
            }
            Ok(_) => {}
            Err(StoreError::Data(why)) => return Err(CommandError::Params(why)),
            Err(other) => return Err(Outage::from(other).into()),
        }
        let ttl = self.ttl.unwrap_or(context.settings.command_ttl);
        let is_good = Duration::from_secs(1) <= ttl && ttl <= MAX_TTL;
        is_good.then_some(ttl).ok_or(CommandError::Ttl)
    }
}
