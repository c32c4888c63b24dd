//! `commands`: the open commands of the device that asks, in their order.
//!
//! Each counts as an attempt: a device that sleeps with a clean session gets its queue in this way.
//! The response has at most as many commands as fit into it; only those count. One that no response
//! can hold is published only.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::call::DeviceCall;
use super::reply::{MAX_RESPONSE, Rejection, ReplyResult, RouteAnswer};
use crate::downlink::commands::{self, CommandError};
use crate::http::api::problem::{Problem, ProblemKind};
use crate::store::downlink::command_changes::TakeRoom;
use crate::store::downlink::commands::CommandRow;

/// The most commands of one response.
const LIMIT_MAX: u32 = 20;

/// What a response needs besides its commands, in bytes: the identifier, the time and the names.
const ENVELOPE_BYTES: u32 = 1024;

/// What a command needs besides its parameters, in bytes.
const COMMAND_BYTES: u32 = 512;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandsParams {
    #[serde(default = "limit_max")]
    limit: u32,
}

/// The body of the response.
#[derive(Serialize)]
struct OpenCommands<'a> {
    commands: Vec<OpenCommand<'a>>,
}

/// A command as it is published on the topic of commands.
#[derive(Serialize)]
struct OpenCommand<'a> {
    command_id: Uuid,
    command_type: &'a str,
    params: &'a RawValue,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    attempt: i32,
}

pub(super) async fn answer(call: &DeviceCall<'_>) -> ReplyResult {
    let CommandsParams { limit } = call.params()?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::field("limit", format!("send 1 to {LIMIT_MAX}")).into());
    }
    let actor = call.actor();
    let bytes = u32::try_from(MAX_RESPONSE).unwrap_or(u32::MAX) - ENVELOPE_BYTES;
    let room = TakeRoom { commands: limit, bytes, bytes_each: COMMAND_BYTES };
    let rows = commands::open_of(call.downlink(&actor), call.device, room).await;
    let rows = rows.map_err(rejection)?;
    let ttl = TimeDelta::from_std(call.services.config.downlink.command_ttl).unwrap_or_default();
    let commands = rows.iter().map(|row| OpenCommand::new(row, ttl)).collect();
    RouteAnswer::json(&OpenCommands { commands })
}

fn rejection(error: CommandError) -> Rejection {
    match error {
        CommandError::Outage(outage) => Problem::from(outage).into(),
        other => Problem::new(ProblemKind::Conflict, other.to_string()).into(),
    }
}

const fn limit_max() -> u32 {
    LIMIT_MAX
}

// === impl OpenCommand ===

impl<'a> OpenCommand<'a> {
    fn new(row: &'a CommandRow, ttl: TimeDelta) -> Self {
        Self {
            command_id: row.command_id,
            command_type: &row.command_type,
            params: &row.params,
            created_at: row.created_at,
            expires_at: row.expires_at.unwrap_or(row.created_at + ttl),
            attempt: row.attempts,
        }
    }
}
