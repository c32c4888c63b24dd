//! `sluice cell join`: prints what makes this database a cell, and with `--yes` runs it.

use std::time::Duration;

use clap::{Args, value_parser};
use serde_json::json;

use super::databases::{AdminArgs, failed, registry_url};
use crate::command::context::{CommandContext, outage};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, json, note};
use crate::config::Config;
use crate::registry::cells::join::{self, JoinRequest};
use crate::store::registry::audit::{self, Entry};

/// Longest name of a cell.
const MAX_NAME: usize = 40;

/// What joins what.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct JoinArgs {
    /// The name of this cell: lower-case letters, digits and underscores
    #[arg(value_name = "NAME", value_parser = read_name)]
    name: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Delete a former copy of the same registry, and copy it again. Stop the daemon before
    #[arg(long)]
    replace: bool,
    /// With --replace: also if the copy has changes that the registry lacks, because the registry was
    /// restored from a backup. They are lost, revocations included
    #[arg(long, requires = "replace")]
    accept_older: bool,
    /// Join although the registry keeps WAL for a cell that is away until its disk is full
    #[arg(long)]
    accept_unbounded: bool,
    /// Run it
    #[arg(long)]
    yes: bool,
    /// How long to wait for the first copy
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=86_400))]
    wait: u64,
}

/// Runs the command.
pub async fn run(args: JoinArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let url = registry_url(config)?;
    let (admin_url, admin_source) = args.admin.url(config)?;
    let operator = CommandContext::open(config).await?;
    let request = JoinRequest {
        cell_id: &args.name,
        url,
        admin_url: &admin_url,
        admin_source,
        replace: args.replace,
        accept_older: args.accept_older,
        accept_unbounded: args.accept_unbounded,
    };
    let plan = join::plan(&operator.database, request).await.map_err(failed)?;
    let (sql, copies, registry) = (plan.shown(), plan.copies(), plan.registry().to_owned());
    for warning in &plan.warnings {
        note!("Warning: {warning}");
    }
    if matches!(output, OutputFormat::Table) {
        print_sql(&format!("at the registry, {registry}"), &sql.registry)?;
        print_sql("in this cell, in one transaction", &sql.cell)?;
    }
    if !args.yes {
        note!("Nothing was changed; add --yes to run these statements.");
        if matches!(output, OutputFormat::Json) {
            json(
                &json!({ "cell": args.name, "registry": registry, "copies": copies, "sql": sql, "joined": false }),
            )?;
        }
        return Ok(Exit::Done);
    }
    let membership = plan.carry_out().await.map_err(failed)?;
    let detail =
        json!({ "cell": args.name, "registry": registry, "accept_older": args.accept_older });
    let entry =
        Entry { actor: &operator.actor, action: "cell.join", tenant: None, device: None, detail };
    audit::note(operator.database.pool(), entry).await.map_err(|why| outage(&why))?;
    let patience = Duration::from_secs(args.wait);
    let is_complete = join::wait_for_copy(&operator.database, &membership, patience)
        .await
        .map_err(|why| outage(&why))?;
    if matches!(output, OutputFormat::Json) {
        json(&json!({
            "cell": args.name, "registry": registry, "copies": copies, "sql": sql, "joined": true, "complete": is_complete,
        }))?;
    }
    if !is_complete {
        note!(
            "This database is cell {} now. The copy was not complete after {} s: Postgres continues it, and `sluice cell status` \
             shows how far it is; the log of this Postgres says why it waits.",
            args.name,
            args.wait
        );
        return Ok(Exit::Negative);
    }
    note!("This database is cell {} of the registry {registry} now.", args.name);
    Ok(Exit::Done)
}

// --- private helpers ---

fn print_sql(place: &str, statements: &[String]) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "-- {place}")?;
    for statement in statements {
        writeln!(out, "{statement};")?;
    }
    Ok(())
}

fn read_name(name: &str) -> Result<String, &'static str> {
    let fits = (1..=MAX_NAME).contains(&name.len());
    let is_plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if fits && is_plain {
        return Ok(name.to_owned());
    }
    Err("a cell's name has 1 to 40 lower-case letters, digits and underscores")
}
