//! `sluice cell leave`: makes a cell its own registry again, with `--yes`.

use clap::Args;
use serde_json::json;

use super::databases::{AdminArgs, failed};
use crate::command::context::{CommandContext, outage};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, json, note};
use crate::config::Config;
use crate::registry::cells::leave::{self, LeaveRequest};
use crate::store::cells::membership;
use crate::store::registry::audit::{self, Entry};

/// How to leave.
#[derive(Clone, Debug, Args)]
pub struct LeaveArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Leave although the registry cannot be reached
    #[arg(long)]
    force: bool,
    /// Leave now
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(args: LeaveArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let pool = operator.database.pool();
    if !args.yes {
        let found = membership::membership(pool).await.map_err(|why| outage(&why))?;
        let Some(found) = found else {
            return Err(Failure::new(
                Exit::Negative,
                "this database is no cell: there is nothing to leave",
            ));
        };
        note!(
            "Nothing was changed. This database is cell {} of the registry {}: with --yes it leaves, and its rows stay.",
            found.cell_id,
            found.registry
        );
        return Ok(Exit::Done);
    }
    let (admin_url, admin_source) = args.admin.url(config)?;
    let request = LeaveRequest {
        url: config.database.registry_url.as_ref(),
        admin_url: &admin_url,
        admin_source,
        force: args.force,
    };
    let left = leave::leave(&operator.database, request).await.map_err(failed)?;
    let cell = &left.membership;
    let detail = json!({ "cell": cell.cell_id, "registry": cell.registry });
    let entry =
        Entry { actor: &operator.actor, action: "cell.leave", tenant: None, device: None, detail };
    audit::note(pool, entry).await.map_err(|why| outage(&why))?;
    let statements = left.left_to_do.as_ref().map(|(_, statements)| statements.clone());
    if matches!(output, OutputFormat::Json) {
        json(
            &json!({ "cell": cell.cell_id, "registry": cell.registry, "left_to_do": statements }),
        )?;
    }
    note!(
        "This database has left the registry {}; commands may change its rows again.",
        cell.registry
    );
    let Some((why, statements)) = left.left_to_do else { return Ok(Exit::Done) };
    note!("The slot is still at the registry ({why}). Run there, or it keeps WAL without end:");
    for statement in statements {
        note!("  {statement};");
    }
    Ok(Exit::Negative)
}
