//! `sluice command`: send, list, show, cancel.
//!
//! It publishes nothing: the daemon does. Text of a device reaches the terminal escaped only.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::failures::of_command;
use super::print::{print_batch, print_command};
use super::send::{self, SendArgs};
use crate::clock;
use crate::command::context::{CommandContext, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::{DeviceFilterArgs, DeviceOrTenantArgs, PageArgs, RangeArgs};
use crate::command::table::{OutputFormat, rows};
use crate::command::text::{cell, moment, moment_or_none};
use crate::config::Config;
use crate::domain::command::CommandStatus;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::downlink::{DownlinkContext, batches, commands};
use crate::store::downlink::commands::{CommandCursor, CommandFilter, CommandRow};

/// Send commands to devices, and follow them.
#[derive(Clone, Debug, Subcommand)]
pub enum DeviceCommandCommand {
    /// Queue a command to a device or to many; --wait waits until it is finished
    #[command(after_help = SEND_HELP)]
    Send(SendArgs),
    /// List commands, the newest first
    #[command(
        after_help = "Examples:\n  sluice command list --device acme/pump-1 --status PENDING\n  \
            sluice command list --tenant acme --since 2h"
    )]
    List {
        /// Whose commands
        #[command(flatten)]
        owner: DeviceFilterArgs,
        /// Only rows with this status, such as PENDING or ACKNOWLEDGED
        #[arg(long, value_parser = read_status)]
        status: Option<CommandStatus>,
        /// Only rows of this batch
        #[arg(long, value_name = "ID")]
        batch: Option<Uuid>,
        /// When they were queued
        #[command(flatten)]
        range: RangeArgs,
        /// Which page
        #[command(flatten)]
        page: PageArgs<CommandCursor>,
    },
    /// Show a command with its acknowledgement, or the progress of a batch
    #[command(after_help = "Examples:\n  \
            sluice command show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --device acme/pump-1\n  \
            sluice command show 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a22 --tenant acme   # a batch")]
    Show {
        /// The command or the batch
        #[command(flatten)]
        which: CommandArg,
    },
    /// Cancel an open command, or all open commands of a batch
    #[command(
        after_help = "A device that has the command already may still carry it out. Exit code 64 when the command is final.\n\n\
            Examples:\n  sluice command cancel 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a11 --device acme/pump-1\n  \
            sluice command cancel 0199b0f2-7d1e-7c3a-9a51-2f0c6f1f6a22 --tenant acme   # a batch"
    )]
    Cancel {
        /// The command or the batch
        #[command(flatten)]
        which: CommandArg,
    },
}

const SEND_HELP: &str = "Select one device with --device, or devices of a tenant with --site, --metadata or --all: at most \
    10000 ACTIVE ones, by one statement. A command whose --id is sent again is queued once.\n\
    With --wait the exit code is 0 when every device acknowledged, else 1.\n\n\
    Examples:\n  sluice command send reboot --device acme/pump-1 --params '{\"delay\": 5}' --wait 30\n  \
    sluice command send update --tenant acme --site north --ttl 86400\n  \
    sluice command send report --tenant acme --all --wait 60";

/// One command of a device, or one batch of a tenant.
#[derive(Clone, Debug, Args)]
pub struct CommandArg {
    /// The command's identifier with --device, or the batch's identifier with --tenant alone
    #[arg(value_name = "ID")]
    id: Uuid,
    #[command(flatten)]
    owner: DeviceOrTenantArgs,
}

/// What a [`CommandArg`] names.
enum NamedCommand {
    OfDevice(DeviceKey),
    Batch(TenantId),
}

/// Runs the command.
pub async fn run(
    command: DeviceCommandCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let context = operator.downlink_context(config);
    match command {
        DeviceCommandCommand::Send(args) => send::run(context, args, output).await,
        DeviceCommandCommand::List { owner, status, batch, range, page } => {
            let (tenant, device) = owner.names()?;
            let now = clock::now();
            let filter = CommandFilter {
                tenant: tenant.as_ref().map(TenantId::to_string),
                device: device.as_ref().map(DeviceId::to_string),
                status,
                batch,
                since: range.since(now),
                until: range.until(now),
            };
            list(context, &filter, &page, output).await
        }
        DeviceCommandCommand::Show { which } => match which.read()? {
            NamedCommand::OfDevice(device) => {
                let row = commands::show(context, &device, which.id).await.map_err(of_command)?;
                print_command(&row, output)
            }
            NamedCommand::Batch(tenant) => {
                let batch = batches::show(context, &tenant, which.id).await.map_err(of_command)?;
                print_batch(&batch, output)
            }
        },
        DeviceCommandCommand::Cancel { which } => match which.read()? {
            NamedCommand::OfDevice(device) => {
                let row = commands::cancel(context, &device, which.id).await;
                print_command(&row.map_err(of_command)?, output)
            }
            NamedCommand::Batch(tenant) => {
                let done = batches::cancel(context, &tenant, which.id).await;
                let (cancelled, batch) = done.map_err(of_command)?;
                crate::command::table::note!("{cancelled} commands were cancelled now.");
                print_batch(&batch, output)
            }
        },
    }
}

// === impl CommandArg ===

impl CommandArg {
    fn read(&self) -> Result<NamedCommand, Failure> {
        match self.owner.key()? {
            (_, Some(device)) => Ok(NamedCommand::OfDevice(device)),
            (Some(tenant), None) => Ok(NamedCommand::Batch(tenant)),
            (None, None) => Err(Failure::usage(
                "name the device of the command with --device TENANT/DEVICE, or the tenant of the batch with --tenant",
            )),
        }
    }
}

// === private helpers ===

async fn list(
    context: DownlinkContext<'_>,
    filter: &CommandFilter,
    args: &PageArgs<CommandCursor>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let found = commands::list(context, filter, args.cursor(), args.limit).await;
    let page = found.map_err(of_command)?;
    let headings = ["ID", "DEVICE", "TYPE", "STATUS", "QUEUED", "ATTEMPTS", "FINISHED"];
    let done = printed(rows(output, &headings, &page, |row| {
        vec![
            row.command_id.to_string(),
            format!("{}/{}", row.tenant_id, row.device_id),
            cell(&row.command_type),
            row.status.to_string(),
            moment(row.created_at),
            row.attempts.to_string(),
            moment_or_none(row.finished_at),
        ]
    }))?;
    args.note_next(page.len(), page.last().map(CommandRow::place));
    Ok(done)
}

fn read_status(text: &str) -> Result<CommandStatus, String> {
    CommandStatus::from_label(&text.to_ascii_uppercase()).ok_or_else(|| {
        format!("expected one of {}", CommandStatus::ALL.map(CommandStatus::label).join(", "))
    })
}
