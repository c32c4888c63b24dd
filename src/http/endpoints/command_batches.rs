//! One command for many devices: queue it, show how far it is, cancel what is open.
//!
//! Devices that are not ACTIVE are skipped and counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::commands::{TtlSeconds, content};
use super::tenants::TenantPath;
use crate::domain::command::CommandType;
use crate::domain::ids::{DeviceId, TenantId};
use crate::downlink::batches as downlink;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{FreeText, Metadata, Param};
use crate::http::api::problem::Problem;
use crate::http::api::route::{OkJson, QueuedJson};
use crate::http::api::state::Api;
use crate::http::views::commands::BatchView;
use crate::store::downlink::command_batches::CommandTargets;

/// The path of a batch.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct BatchPath {
    /// The identifier of the tenant.
    tenant: Param<TenantId>,
    /// The identifier of the batch.
    batch: Param<Uuid>,
}

/// A command to queue for many devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchToQueue {
    /// The identifier of the batch; without it Sluice chooses one. A repeated request with the same
    /// identifier, type and parameters queues nothing and gets the same batch with 200.
    batch_id: Option<Param<Uuid>>,
    /// The type of the command, such as `reboot`.
    command_type: Param<CommandType>,
    /// The parameters of the command, at most 16 KiB.
    #[serde(default)]
    params: Metadata,
    /// How long the commands are valid, in seconds; the default is `COMMAND_TTL_SECONDS`.
    ttl_seconds: Option<TtlSeconds>,
    /// The devices that get the command: at most 10000 ACTIVE ones.
    targets: BatchTargets,
}

/// The selected devices: those that meet all conditions. Send at least one condition, or only `all`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchTargets {
    /// Only these devices.
    devices: Option<Vec<Param<DeviceId>>>,
    /// Only devices of this site.
    site_id: Option<Param<FreeText>>,
    /// Only devices whose metadata contains this object.
    metadata: Option<Metadata>,
    /// All devices of the tenant; without any other condition.
    #[serde(default)]
    all: bool,
}

/// A queued batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QueuedBatchView {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// The number of devices that match and are not ACTIVE: they get no command.
    skipped: i64,
    /// The number of devices in `devices` that are not registered or meet another condition not.
    unmatched: i64,
}

/// A batch after its cancellation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CancelledBatch {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// The number of commands that were cancelled now.
    cancelled: i64,
}

pub(crate) async fn queue(
    api: Api,
    call: Call<TenantPath, NoParams, Json<BatchToQueue>>,
) -> Result<QueuedJson<QueuedBatchView>, Problem> {
    let (Param(tenant), Json(batch)) = (call.path.tenant, call.body);
    let targets = batch.targets.read()?;
    let batch_id = batch.batch_id.map(|Param(id)| id);
    let order = content(batch.command_type, batch.params, batch.ttl_seconds);
    let context = api.downlink_context();
    let queued = downlink::queue(context, &tenant, targets, batch_id, order).await?;
    let downlink::QueuedBatch { progress, skipped, unmatched, is_new } = queued;
    let value = QueuedBatchView { batch: progress.into(), skipped, unmatched };
    Ok(QueuedJson { is_new, value })
}

pub(crate) async fn show(
    api: Api,
    call: Call<BatchPath, NoParams, NoBody>,
) -> Result<OkJson<BatchView>, Problem> {
    let (Param(tenant), Param(batch)) = (call.path.tenant, call.path.batch);
    Ok(OkJson(downlink::show(api.downlink_context(), &tenant, batch).await?.into()))
}

pub(crate) async fn cancel(
    api: Api,
    call: Call<BatchPath, NoParams, NoBody>,
) -> Result<OkJson<CancelledBatch>, Problem> {
    let (Param(tenant), Param(batch)) = (call.path.tenant, call.path.batch);
    let (cancelled, progress) = downlink::cancel(api.downlink_context(), &tenant, batch).await?;
    Ok(OkJson(CancelledBatch { batch: progress.into(), cancelled }))
}

// === impl BatchTargets ===

impl BatchTargets {
    fn read(self) -> Result<CommandTargets, Problem> {
        // Every device contains an empty object.
        if self.metadata.as_ref().is_some_and(|Metadata(metadata)| metadata.is_empty()) {
            return Err(Problem::field(
                "targets.metadata",
                "name at least one member, or select all devices with `all`",
            ));
        }
        let devices = self.devices.map(|devices| {
            devices.into_iter().map(|Param(device)| device.to_string()).collect::<Vec<_>>()
        });
        let targets = CommandTargets {
            devices,
            site: self.site_id.map(|Param(FreeText(site))| site),
            metadata: self.metadata.map(|Metadata(metadata)| metadata),
        };
        if self.all == (targets == CommandTargets::default()) {
            return Ok(targets);
        }
        Err(Problem::field(
            "targets",
            "send conditions such as `site_id` or `devices`, or only `all`",
        ))
    }
}
