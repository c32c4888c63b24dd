//! `sluice cell`: join, status, leave.
//!
//! The password of the registry comes from a setting or a file, never from an argument. Without `--yes`
//! nothing is changed.

mod databases;
mod join;
mod leave;
mod status;

use clap::Subcommand;

use crate::command::failure::{Exit, Failure};
use crate::command::table::OutputFormat;
use crate::config::Config;

/// Make this database a cell of a registry, show the copy, take it back.
#[derive(Clone, Debug, Subcommand)]
pub enum CellCommand {
    /// Check both databases, and print the SQL that makes this one a cell; with --yes run it
    #[command(
        after_help = "REGISTRY_URL (or REGISTRY_URL_FILE) names the registry. Both Postgres are version 15 or newer; the registry has \
            wal_level=logical. The tables of the registry must be empty here, or equal. Postgres keeps the URL with its password \
            in pg_subscription, which only a superuser reads. Exit code 1 when a check refuses.\n\n\
            Examples:\n  sluice cell join north --admin-url-file /etc/sluice/admin.url\n  \
            sluice cell join north --admin-url-file /etc/sluice/admin.url --yes"
    )]
    Join(join::JoinArgs),
    /// In a cell: how far the copy of the registry is behind. At a registry: its cells. Exit code 1 when
    /// something is wrong
    #[command(after_help = "Example:\n  sluice cell status --output json")]
    Status,
    /// Leave the registry: this database becomes its own registry, with the rows that it has
    #[command(
        after_help = "Without --yes nothing is changed. With --force the cell leaves although the registry cannot be reached, and the \
            command prints what is left to do there.\n\n\
            Example:\n  sluice cell leave --admin-url-file /etc/sluice/admin.url --yes"
    )]
    Leave(leave::LeaveArgs),
}

/// Runs the command.
pub async fn run(
    command: CellCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    match command {
        CellCommand::Join(args) => join::run(args, config, output).await,
        CellCommand::Status => status::run(config, output).await,
        CellCommand::Leave(args) => leave::run(args, config, output).await,
    }
}
