//! Waits for the end of commands, and prints each change of their state on the way.
//!
//! It reads the rows again and again; the end of the wait changes nothing about the commands.

use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::{sleep, timeout};

use super::failures::of_command;
use super::print::{print_batch, print_command, statuses};
use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::domain::command::CommandStatus;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::downlink::{DownlinkContext, batches, commands};
use crate::store::downlink::command_batches::BatchProgress;
use crate::store::downlink::commands::CommandRow;

/// How often the rows are read.
const INTERVAL: Duration = Duration::from_millis(200);

/// Follows one command.
pub(super) async fn command(
    context: DownlinkContext<'_>,
    mut row: CommandRow,
    patience: Duration,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let device = DeviceKey::new(&row.tenant_id, &row.device_id)
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    let wait = async {
        let mut shown = None;
        loop {
            let state = (row.status, row.attempts);
            if output == OutputFormat::Table && shown != Some(state) {
                print_state(&row)?;
                shown = Some(state);
            }
            if !row.status.is_open() {
                return Ok(());
            }
            sleep(INTERVAL).await;
            row = commands::show(context, &device, row.command_id).await.map_err(of_command)?;
        }
    };
    let waited: Result<Result<(), Failure>, _> = timeout(patience, wait).await;
    if let Ok(ended) = waited {
        ended?;
    }
    if output == OutputFormat::Json {
        print_command(&row, output)?;
    }
    match row.status {
        CommandStatus::Acknowledged => Ok(Exit::Done),
        status => Err(Failure::new(Exit::Negative, ended_badly(&row, status, patience))),
    }
}

/// Follows a batch.
pub(super) async fn batch(
    context: DownlinkContext<'_>,
    tenant: &TenantId,
    mut progress: BatchProgress,
    patience: Duration,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let wait = async {
        let mut shown = None;
        loop {
            if output == OutputFormat::Table && shown.as_ref() != Some(&progress.statuses) {
                writeln!(io::stdout(), "{}", statuses(&progress))?;
                shown = Some(progress.statuses.clone());
            }
            if progress.open == 0 {
                return Ok(());
            }
            sleep(INTERVAL).await;
            let found = batches::show(context, tenant, progress.batch_id).await;
            progress = found.map_err(of_command)?;
        }
    };
    let waited: Result<Result<(), Failure>, _> = timeout(patience, wait).await;
    if let Ok(ended) = waited {
        ended?;
    }
    if output == OutputFormat::Json {
        print_batch(&progress, output)?;
    }
    let acknowledged = progress.statuses.get(CommandStatus::Acknowledged.label());
    let acknowledged = acknowledged.copied().unwrap_or_default();
    if acknowledged == progress.commands {
        return Ok(Exit::Done);
    }
    let BatchProgress { batch_id, commands, open, .. } = progress;
    Err(Failure::new(
        Exit::Negative,
        format!(
            "{acknowledged} of {commands} devices acknowledged, and {open} commands are open: \
             `sluice command list --tenant {tenant} --batch {batch_id}` lists them"
        ),
    ))
}

// === private helpers ===

fn print_state(row: &CommandRow) -> io::Result<()> {
    let at = match row.status {
        CommandStatus::Pending => Some(row.created_at),
        CommandStatus::Published | CommandStatus::InProgress => row.published_at,
        _ => row.finished_at.or(row.acked_at),
    };
    let attempt = match row.status {
        CommandStatus::Published => format!("  attempt {}", row.attempts),
        _ => String::new(),
    };
    writeln!(io::stdout(), "{:12}  {}{attempt}", row.status.label(), millis(at))
}

fn millis(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

fn ended_badly(row: &CommandRow, status: CommandStatus, patience: Duration) -> String {
    let CommandRow { command_id, tenant_id, device_id, .. } = row;
    let device = format!("{tenant_id}/{device_id}");
    if status.is_open() {
        return format!(
            "command {command_id} is {status} after {} s and stays queued: `sluice command cancel \
             {command_id} --device {device}` cancels it",
            patience.as_secs()
        );
    }
    format!(
        "command {command_id} is {status}: `sluice command show {command_id} --device {device}` \
         shows what the device answered"
    )
}
