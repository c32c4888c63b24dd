//! `sluice shadow`: show, set, patch, clear, list.
//!
//! It publishes nothing: the daemon does. Text of a device reaches the terminal escaped only.

use std::io::{self, Read};

use clap::{Args, Subcommand};

use super::failures::of_shadow;
use crate::cli::registry::device::DeviceArg;
use crate::command::context::{CommandContext, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{NONE, cell, moment_or_none, printable};
use crate::config::Config;
use crate::domain::ids::{DeviceId, DeviceKey, TenantId};
use crate::downlink::DownlinkContext;
use crate::downlink::document::JsonDocument;
use crate::downlink::shadow::{self, Precondition, ShadowChange};
use crate::store::downlink::shadows::{ShadowFilter, ShadowRow};

/// Show and change what devices should be.
#[derive(Clone, Debug, Subcommand)]
pub enum ShadowCommand {
    /// Show the desired and the reported document of a device, and their difference
    #[command(after_help = "Example:\n  sluice shadow show acme pump-1")]
    Show {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
    },
    /// Replace the desired document of a device
    #[command(after_help = "Examples:\n  sluice shadow set acme pump-1 '{\"rate\": 5}'\n  \
            sluice shadow set acme pump-1 '{\"rate\": 5}' --if-version 0   # only the first\n  \
            sluice shadow set acme pump-1 - < desired.json")]
    Set(ShadowChangeArgs),
    /// Change members of the desired document by a JSON merge patch; null removes a member
    #[command(
        after_help = "Example:\n  sluice shadow patch acme pump-1 '{\"rate\": 5, \"mode\": null}' --if-version 18"
    )]
    Patch(ShadowChangeArgs),
    /// Remove the desired document of a device
    #[command(after_help = "Example:\n  sluice shadow clear acme pump-1")]
    Clear {
        /// The device
        #[command(flatten)]
        which: DeviceArg,
        /// Only if the desired document has this version
        #[arg(long, value_name = "N")]
        if_version: Option<u32>,
    },
    /// List the devices of a tenant with both documents, sorted by name
    #[command(after_help = "Example:\n  sluice shadow list --tenant acme --not-in-sync")]
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantId,
        /// Only devices that are in sync
        #[arg(long, conflicts_with = "not_in_sync")]
        in_sync: bool,
        /// Only devices that are not in sync
        #[arg(long)]
        not_in_sync: bool,
        /// Which page
        #[command(flatten)]
        page: PageArgs<DeviceId>,
    },
}

/// A device, and what to make of its desired document.
#[derive(Clone, Debug, Args)]
pub struct ShadowChangeArgs {
    #[command(flatten)]
    which: DeviceArg,
    /// A JSON object, or - to read it from standard input
    #[arg(value_name = "JSON")]
    document: String,
    /// Only if the desired document has this version; 0 before the first
    #[arg(long, value_name = "N")]
    if_version: Option<u32>,
}

/// Runs the command.
pub async fn run(
    command: ShadowCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let context = operator.downlink_context(config);
    match command {
        ShadowCommand::Show { which } => {
            print(&shadow::show(context, &which.key()).await.map_err(of_shadow)?, output)
        }
        ShadowCommand::Set(args) => {
            let change = ShadowChange::Set(args.read(config)?);
            apply(context, &args.which.key(), &change, args.if_version, output).await
        }
        ShadowCommand::Patch(args) => {
            let change = ShadowChange::Patch(args.read(config)?);
            apply(context, &args.which.key(), &change, args.if_version, output).await
        }
        ShadowCommand::Clear { which, if_version } => {
            apply(context, &which.key(), &ShadowChange::Clear, if_version, output).await
        }
        ShadowCommand::List { tenant, in_sync, not_in_sync, page } => {
            let in_sync = match (in_sync, not_in_sync) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            };
            let after = page.cursor().as_ref().map(DeviceId::to_string);
            list(context, ShadowFilter { tenant, in_sync, after }, &page, output).await
        }
    }
}

// === impl ShadowChangeArgs ===

impl ShadowChangeArgs {
    fn read(&self, config: &Config) -> Result<JsonDocument, Failure> {
        let max = config.downlink.shadow_max_bytes;
        let text = match self.document.as_str() {
            "-" => {
                let mut text = Vec::new();
                let limit = max as u64 + 1;
                io::stdin().take(limit).read_to_end(&mut text).map_err(|error| {
                    Failure::usage(format!("cannot read the document from standard input: {error}"))
                })?;
                text
            }
            text => text.as_bytes().to_vec(),
        };
        JsonDocument::read(&text, max)
            .map_err(|error| Failure::usage(format!("the desired document was refused: {error}")))
    }
}

// === private helpers ===

async fn apply(
    context: DownlinkContext<'_>,
    device: &DeviceKey,
    change: &ShadowChange,
    if_version: Option<u32>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let condition = match if_version {
        Some(version) => Precondition::Version(version.into()),
        None => Precondition::None,
    };
    print(&shadow::change(context, device, change, condition).await.map_err(of_shadow)?, output)
}

fn print(row: &ShadowRow, output: OutputFormat) -> Result<Exit, Failure> {
    let text = |document: Option<&str>| document.map_or_else(|| NONE.to_owned(), printable);
    let version = row.reported_version.map_or_else(|| NONE.to_owned(), |it| it.to_string());
    let lines = [
        ("Device", format!("{}/{}", row.tenant_id, row.device_id)),
        ("In sync", yes_or_no(row.in_sync)),
        ("Desired", text(row.desired.as_ref().map(|document| document.get()))),
        ("Desired version", row.desired_version.to_string()),
        ("Desired since", moment_or_none(row.desired_at)),
        ("Reported", text(row.reported.as_ref().map(|document| document.get()))),
        ("Reported version", version),
        ("Reported at", moment_or_none(row.reported_at)),
        ("Delta", printable(row.delta.get())),
    ];
    printed(fields(output, row, &lines))
}

async fn list(
    context: DownlinkContext<'_>,
    filter: ShadowFilter,
    args: &PageArgs<DeviceId>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let page = full_page(context, filter, args.limit).await?;
    let headings = ["DEVICE", "IN SYNC", "VERSION", "DESIRED SINCE", "REPORTED", "DELTA"];
    let done = printed(rows(output, &headings, &page, |row| {
        vec![
            format!("{}/{}", row.tenant_id, row.device_id),
            yes_or_no(row.in_sync),
            row.desired_version.to_string(),
            moment_or_none(row.desired_at),
            moment_or_none(row.reported_at),
            cell(row.delta.get()),
        ]
    }))?;
    args.note_next(page.len(), page.last().map(|row| row.device_id.clone()));
    Ok(done)
}

/// One look compares the documents of some devices only: look on until the page is full.
async fn full_page(
    context: DownlinkContext<'_>,
    mut filter: ShadowFilter,
    limit: u32,
) -> Result<Vec<ShadowRow>, Failure> {
    let mut page = Vec::new();
    let mut left = limit;
    loop {
        let found = shadow::list(context, &filter, left).await.map_err(of_shadow)?;
        page.extend(found.rows);
        left = limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        match found.compared_to {
            Some(last) if left > 0 => filter.after = Some(last),
            _ => return Ok(page),
        }
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
