//! Prints one command, and how far a batch is.
//!
//! Text of a device reaches the terminal escaped only.

use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::{moment, moment_or_none, printable};
use crate::domain::command::CommandStatus;
use crate::store::downlink::command_batches::BatchProgress;
use crate::store::downlink::commands::CommandRow;

/// Prints a command.
pub(super) fn print_command(row: &CommandRow, output: OutputFormat) -> Result<Exit, Failure> {
    let details = row.ack_details.as_ref().map(|details| printable(details.get()));
    let lines = [
        ("Command", row.command_id.to_string()),
        ("Device", format!("{}/{}", row.tenant_id, row.device_id)),
        ("Type", printable(&row.command_type)),
        ("Parameters", printable(row.params.get())),
        ("Status", row.status.to_string()),
        ("Batch", row.batch_id.map_or_else(|| "-".to_owned(), |id| id.to_string())),
        ("Queued", moment(row.created_at)),
        ("Expires", moment_or_none(row.expires_at)),
        ("Attempts", row.attempts.to_string()),
        ("Published", moment_or_none(row.published_at)),
        ("Acknowledged", moment_or_none(row.acked_at)),
        ("Details", details.unwrap_or_else(|| "-".to_owned())),
        ("Finished", moment_or_none(row.finished_at)),
    ];
    printed(fields(output, row, &lines))
}

/// Prints how far a batch is.
pub(super) fn print_batch(batch: &BatchProgress, output: OutputFormat) -> Result<Exit, Failure> {
    let lines = [
        ("Batch", batch.batch_id.to_string()),
        ("Tenant", batch.tenant_id.clone()),
        ("Type", printable(&batch.command_type)),
        ("Commands", batch.commands.to_string()),
        ("Open", batch.open.to_string()),
        ("Statuses", statuses(batch)),
        ("Queued", moment(batch.created_at)),
        ("Expires", moment_or_none(batch.expires_at)),
        ("Finished", moment_or_none(batch.finished_at)),
    ];
    printed(fields(output, batch, &lines))
}

/// The number of commands in each state, on one line.
pub(super) fn statuses(batch: &BatchProgress) -> String {
    let counts = CommandStatus::ALL.into_iter().filter_map(|status| {
        let count = batch.statuses.get(status.label())?;
        Some(format!("{count} {status}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}
