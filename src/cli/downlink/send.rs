//! `sluice command send`: the arguments, and which devices they select.

use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::failures::of_command;
use super::follow;
use super::print::{print_batch, print_command};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::DeviceOrTenantArgs;
use crate::command::table::OutputFormat;
use crate::domain::command::CommandType;
use crate::downlink::batches::QueuedBatch;
use crate::downlink::commands::CommandContent;
use crate::downlink::{DownlinkContext, batches, commands};
use crate::store::downlink::command_batches::CommandTargets;

/// What to send, to which devices, and how long to wait.
#[derive(Clone, Debug, Args)]
pub struct SendArgs {
    /// The command's type, such as reboot: 1 to 64 characters of A-Z a-z 0-9 . _ : -
    #[arg(value_name = "TYPE")]
    command_type: CommandType,
    #[command(flatten)]
    owner: DeviceOrTenantArgs,
    /// To the devices of this site
    #[arg(long)]
    site: Option<String>,
    /// To the devices whose metadata contains this JSON object
    #[arg(long, value_name = "JSON", value_parser = read_condition)]
    metadata: Option<Map<String, Value>>,
    /// To all devices of the tenant
    #[arg(long, conflicts_with_all = ["site", "metadata"])]
    all: bool,
    /// The command's parameters: a JSON object of at most 16 KiB
    #[arg(long, value_name = "JSON", value_parser = read_object, default_value = "{}")]
    params: Map<String, Value>,
    /// How long the command is valid, at most 30 days; the setting `COMMAND_TTL_SECONDS` without it
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=2_592_000))]
    ttl: Option<u64>,
    /// The identifier of the command, or of the batch; chosen without it
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// Wait this long for the end of the command
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
}

/// Queues the command, and follows it with `--wait`.
pub(super) async fn run(
    context: DownlinkContext<'_>,
    args: SendArgs,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let patience = args.wait.map(Duration::from_secs);
    let order = CommandContent {
        command_type: args.command_type.clone(),
        params: args.params.clone(),
        ttl: args.ttl.map(Duration::from_secs),
    };
    let selects_many = args.all || args.site.is_some() || args.metadata.is_some();
    match args.owner.key()? {
        (_, Some(_)) if selects_many => Err(Failure::usage(
            "--device selects one device: leave out --site, --metadata and --all",
        )),
        (_, Some(device)) => {
            let queued = commands::queue(context, &device, args.id, order).await;
            let queued = queued.map_err(of_command)?;
            note_repeat(queued.is_new, "command");
            match patience {
                Some(patience) => follow::command(context, queued.row, patience, output).await,
                None => print_command(&queued.row, output),
            }
        }
        (Some(tenant), None) if selects_many => {
            let targets =
                CommandTargets { devices: None, site: args.site, metadata: args.metadata };
            let queued = batches::queue(context, &tenant, targets, args.id, order).await;
            let QueuedBatch { progress, skipped, is_new, .. } = queued.map_err(of_command)?;
            note_repeat(is_new, "batch");
            if skipped > 0 {
                crate::command::table::note!(
                    "{skipped} devices that match are not ACTIVE and get no command."
                );
            }
            match patience {
                Some(patience) => follow::batch(context, &tenant, progress, patience, output).await,
                None => print_batch(&progress, output),
            }
        }
        (Some(tenant), None) => Err(Failure::usage(format!(
            "select devices of tenant {tenant} with --device, --site, --metadata or --all"
        ))),
        (None, None) => Err(Failure::usage(
            "select a device with --device TENANT/DEVICE, or devices with --tenant and --site, --metadata or --all",
        )),
    }
}

// === private helpers ===

fn note_repeat(is_new: bool, what: &str) {
    if !is_new {
        crate::command::table::note!("The {what} was queued before: nothing was queued now.");
    }
}

/// Every device contains an empty object.
fn read_condition(text: &str) -> Result<Map<String, Value>, String> {
    let condition = read_object(text)?;
    if condition.is_empty() {
        return Err("name at least one member, or select all devices with --all".to_owned());
    }
    Ok(condition)
}

fn read_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("expected a JSON object such as {\"delay\": 5}".to_owned()),
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}
