//! `sluice audit list`: who changed what, the newest entry first. It changes nothing.

use clap::{Args, Subcommand};

use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, rows};
use crate::command::text::{cell, cell_or_none, moment};
use crate::config::Config;
use crate::domain::ids::TenantId;
use crate::store::reads::audit::{self, AuditCursor, AuditFilter, AuditRow};

/// Show who changed what: the audit log.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// List changes, the newest first
    #[command(
        after_help = "The keys of a search are actor, action, tenant, device, since and until; a word without a key is a device. \
            A `-` excludes, a `*` at the end matches every end.\n\nExamples:\n  sluice audit list --search 'actor:console:* since:7d'\n  \
            sluice audit list --search 'tenant:acme -action:session.*' --output json"
    )]
    List(AuditListArgs),
}

/// Which changes.
#[derive(Clone, Debug, Args)]
pub struct AuditListArgs {
    /// Only entries that a search selects, such as `actor:cli:alice action:device.* since:2h`
    #[arg(long, default_value = "", hide_default_value = true)]
    search: String,
    /// Only entries of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    page: PageArgs<AuditCursor>,
}

/// Runs the command.
pub async fn run(
    command: AuditCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let AuditCommand::List(args) = command;
    let filter = AuditFilter::read(Some(&args.search), args.tenant.clone())
        .map_err(|error| Failure::usage(format!("--search: {error}")))?;
    let context = CommandContext::open(config).await?;
    let (pool, before, now) = (context.database.pool(), args.page.cursor(), clock::now());
    let page = audit::list(pool, &filter, before, args.page.limit, now).await;
    let page = page.map_err(|trouble| outage(&trouble))?;
    let headings = ["TIME", "ACTOR", "ACTION", "TENANT", "DEVICE", "DETAIL"];
    let exit = printed(rows(output, &headings, &page, cells))?;
    if page.len() < args.page.limit as usize {
        let end = audit::scan_end(pool, &filter, before, now).await;
        if let Some(end) = end.map_err(|trouble| outage(&trouble))? {
            crate::command::table::note!("Not all entries were searched: add --cursor {end}");
        }
    }
    args.page.note_next(page.len(), page.last().map(AuditRow::place));
    Ok(exit)
}

// === private helpers ===

fn cells(row: &AuditRow) -> Vec<String> {
    vec![
        moment(row.at),
        cell(&row.actor),
        cell(&row.action),
        cell_or_none(row.tenant_id.as_deref()),
        cell_or_none(row.device_id.as_deref()),
        cell(&row.detail.to_string()),
    ]
}
