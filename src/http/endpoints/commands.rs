//! `/commands`: queue a command to a device, list, show, cancel.
//!
//! A request may choose the identifier of its command, so that it can be repeated safely.

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use uuid::Uuid;

use super::devices::DevicePath;
use super::tenants::TenantPath;
use crate::domain::command::{CommandStatus, CommandType};
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::domain::time::Timestamp;
use crate::downlink::commands::{self as downlink, CommandContent};
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::page::Page;
use crate::http::api::params::{Limit, Metadata, Param, Whole};
use crate::http::api::problem::Problem;
use crate::http::api::route::{OkJson, QueuedJson};
use crate::http::api::state::Api;
use crate::http::views::commands::CommandView;
use crate::store::downlink::commands::{CommandCursor, CommandFilter, CommandRow};

/// How long a command may be valid, in seconds: at most 30 days.
pub(super) type TtlSeconds = Whole<1, 2_592_000>;

/// The path of a command.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CommandPath {
    /// The identifier of the tenant.
    tenant: Param<TenantId>,
    /// The identifier of the device within its tenant.
    device: Param<DeviceId>,
    /// The identifier of the command.
    command: Param<Uuid>,
}

/// The page and the filters of commands of one device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandPageParams {
    /// Only commands in this state.
    status: Option<Param<CommandStatus>>,
    /// Only commands that were queued at this time or later.
    since: Option<Param<Timestamp>>,
    /// Only commands that were queued before this time.
    until: Option<Param<Timestamp>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<CommandCursor>>,
}

/// The page and the filters of commands of one tenant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantCommandPageParams {
    /// Only commands to this device.
    device: Option<Param<DeviceId>>,
    /// Only commands in this state.
    status: Option<Param<CommandStatus>>,
    /// Only commands of this batch.
    batch: Option<Param<Uuid>>,
    /// Only commands that were queued at this time or later.
    since: Option<Param<Timestamp>>,
    /// Only commands that were queued before this time.
    until: Option<Param<Timestamp>>,
    /// The number of rows of a page.
    #[serde(default)]
    limit: Param<Limit>,
    /// The `next` of the previous page.
    cursor: Option<Param<CommandCursor>>,
}

/// A command to queue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandToQueue {
    /// The identifier of the command; without it Sluice chooses one. A repeated request with the same
    /// identifier, type and parameters queues nothing and gets the same command with 200.
    command_id: Option<Param<Uuid>>,
    /// The type of the command, such as `reboot`.
    command_type: Param<CommandType>,
    /// The parameters of the command, at most 16 KiB.
    #[serde(default)]
    params: Metadata,
    /// How long the command is valid, in seconds; the default is `COMMAND_TTL_SECONDS`.
    ttl_seconds: Option<TtlSeconds>,
}

pub(crate) async fn queue(
    api: Api,
    call: Call<DevicePath, NoParams, Json<CommandToQueue>>,
) -> Result<QueuedJson<CommandView>, Problem> {
    let Json(command) = call.body;
    let command_id = command.command_id.map(|Param(id)| id);
    let order = content(command.command_type, command.params, command.ttl_seconds);
    let context = api.downlink_context();
    let queued = downlink::queue(context, &call.path.key(), command_id, order).await?;
    Ok(QueuedJson { is_new: queued.is_new, value: queued.row.into() })
}

pub(crate) async fn list(
    api: Api,
    call: Call<DevicePath, CommandPageParams, NoBody>,
) -> Result<OkJson<Page<CommandView>>, Problem> {
    let (key, query) = (call.path.key(), call.query);
    let filter = CommandFilter {
        tenant: Some(key.tenant().to_owned()),
        device: Some(key.device().to_owned()),
        status: query.status.map(|Param(status)| status),
        batch: None,
        since: query.since.map(|Param(since)| since),
        until: query.until.map(|Param(until)| until),
    };
    page(&api, &filter, query.cursor, query.limit).await
}

pub(crate) async fn list_of_tenant(
    api: Api,
    call: Call<TenantPath, TenantCommandPageParams, NoBody>,
) -> Result<OkJson<Page<CommandView>>, Problem> {
    let query = call.query;
    let filter = CommandFilter {
        tenant: Some(call.path.tenant.0.to_string()),
        device: query.device.map(|Param(device)| device.to_string()),
        status: query.status.map(|Param(status)| status),
        batch: query.batch.map(|Param(batch)| batch),
        since: query.since.map(|Param(since)| since),
        until: query.until.map(|Param(until)| until),
    };
    page(&api, &filter, query.cursor, query.limit).await
}

pub(crate) async fn show(
    api: Api,
    call: Call<CommandPath, NoParams, NoBody>,
) -> Result<OkJson<CommandView>, Problem> {
    let (key, Param(command)) = (call.path.key(), call.path.command);
    Ok(OkJson(downlink::show(api.downlink_context(), &key, command).await?.into()))
}

pub(crate) async fn cancel(
    api: Api,
    call: Call<CommandPath, NoParams, NoBody>,
) -> Result<OkJson<CommandView>, Problem> {
    let (key, Param(command)) = (call.path.key(), call.path.command);
    Ok(OkJson(downlink::cancel(api.downlink_context(), &key, command).await?.into()))
}

// === impl CommandPath ===

impl CommandPath {
    fn key(&self) -> DeviceKey {
        DeviceKey::of(&self.tenant.0, &self.device.0)
    }
}

/// What a command consists of.
pub(super) fn content(
    Param(command_type): Param<CommandType>,
    Metadata(params): Metadata,
    ttl: Option<TtlSeconds>,
) -> CommandContent {
    let ttl = ttl.map(|Whole(seconds)| Duration::from_secs(seconds.into()));
    CommandContent { command_type, params, ttl }
}

// === private helpers ===

async fn page(
    api: &Api,
    filter: &CommandFilter,
    cursor: Option<Param<CommandCursor>>,
    Param(Limit(limit)): Param<Limit>,
) -> Result<OkJson<Page<CommandView>>, Problem> {
    let before = cursor.map(|Param(place)| place);
    let fetched = Page::<CommandView>::fetch(limit);
    let rows = downlink::list(api.downlink_context(), filter, before, fetched).await?;
    Ok(OkJson(Page::new(rows, limit, |last: &CommandRow| last.place().to_string())))
}
