//! `sluice tenant`: add, list, show, set-status, remove.

use clap::Subcommand;
use serde_json::json;

use super::status_reach;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{cell, moment, printable};
use crate::config::Config;
use crate::domain::ids::TenantId;
use crate::registry::tenants as registry;
use crate::store::registry::tenants::{self, TenantDetail, TenantError, TenantStatus};

/// Manage tenants, the owners of devices.
#[derive(Clone, Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant
    #[command(after_help = "Example:\n  sluice tenant add acme --name 'Acme Pumps'")]
    Add {
        /// The tenant's identifier in topics: 1 to 64 characters of A-Z a-z 0-9 . _ : -
        tenant: TenantId,
        /// The tenant's display name; by default its identifier
        #[arg(long)]
        name: Option<String>,
    },
    /// List tenants, sorted by identifier
    #[command(after_help = "Example:\n  sluice tenant list --limit 20 --cursor acme")]
    List(PageArgs<TenantId>),
    /// Show a tenant and the number of its devices
    #[command(after_help = "Example:\n  sluice tenant show acme")]
    Show {
        /// The tenant's identifier
        tenant: TenantId,
    },
    /// Activate or suspend all devices of a tenant
    #[command(
        after_help = "Every replica applies the status within a second. With ACL_OUTPUT_PATH the broker's access rules follow within \
            seconds: the devices of a suspended tenant can neither publish nor read. They can still connect until \
            `sluice cert revoke` revokes their certificates.\n\n\
            Example:\n  sluice tenant set-status acme SUSPENDED"
    )]
    SetStatus {
        /// The tenant's identifier
        tenant: TenantId,
        /// ACTIVE or SUSPENDED
        #[arg(value_parser = read_status)]
        status: TenantStatus,
    },
    /// Remove a tenant that has no devices; its data stays until its retention ends
    #[command(after_help = "Example:\n  sluice tenant remove acme")]
    Remove {
        /// The tenant's identifier
        tenant: TenantId,
    },
}

/// Runs the command.
pub async fn run(
    command: TenantCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let pool = operator.database.pool();
    match command {
        TenantCommand::Add { tenant, name } => {
            let added = registry::add(operator.action_context(), &tenant, name.as_deref()).await;
            print(&added.map_err(explain)?, output)
        }
        TenantCommand::List(args) => list(&operator, &args, output).await,
        TenantCommand::Show { tenant } => {
            print(&tenants::show(pool, &tenant).await.map_err(explain)?, output)
        }
        TenantCommand::SetStatus { tenant, status } => {
            set_status(&operator, &tenant, status, config, output).await
        }
        TenantCommand::Remove { tenant } => {
            registry::remove(operator.action_context(), &tenant).await.map_err(explain)?;
            printed(fields(
                output,
                &json!({ "removed": tenant.as_str() }),
                &[("Removed", tenant.to_string())],
            ))
        }
    }
}

async fn list(
    operator: &CommandContext,
    args: &PageArgs<TenantId>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let (pool, after) = (operator.database.pool(), args.cursor());
    let page = tenants::list(pool, after.as_ref(), args.limit).await.map_err(explain)?;
    let exit = printed(rows(output, &["TENANT", "NAME", "STATUS", "ADDED"], &page, |tenant| {
        vec![
            tenant.tenant_id.clone(),
            cell(&tenant.name),
            tenant.status.to_string(),
            moment(tenant.created_at),
        ]
    }))?;
    args.note_next(page.len(), page.last().map(|tenant| &tenant.tenant_id));
    Ok(exit)
}

async fn set_status(
    operator: &CommandContext,
    tenant: &TenantId,
    status: TenantStatus,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let was = registry::set_status(operator.action_context(), tenant, status).await;
    let was = was.map_err(explain)?;
    let now = status.label();
    let value = json!({
        "tenant_id": tenant.as_str(), "status": now, "was": was,
        "broker_rules_follow": status_reach::reaches_broker(config),
    });
    status_reach::print_note(output, config, "each of its devices");
    let lines =
        [("Tenant", tenant.to_string()), ("Status", now.to_owned()), ("Before", was.to_string())];
    printed(fields(output, &value, &lines))
}

fn print(found: &TenantDetail, output: OutputFormat) -> Result<Exit, Failure> {
    let lines = [
        ("Tenant", found.tenant.tenant_id.clone()),
        ("Name", printable(&found.tenant.name)),
        ("Status", found.tenant.status.to_string()),
        ("Devices", format!("{} ({} active)", found.devices, found.devices_active)),
        ("Added", moment(found.tenant.created_at)),
    ];
    printed(fields(output, found, &lines))
}

fn read_status(text: &str) -> Result<TenantStatus, &'static str> {
    TenantStatus::from_label(&text.to_ascii_uppercase()).ok_or("expected ACTIVE or SUSPENDED")
}

fn explain(error: TenantError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        TenantError::Outage(trouble) => return outage(&trouble),
        TenantError::Exists(tenant) => format!("`sluice tenant show {tenant}` shows it"),
        TenantError::Unaddressable(_) => "choose another name".to_owned(),
        TenantError::Unknown(_) => "`sluice tenant list` lists all tenants".to_owned(),
        TenantError::HasDevices { tenant, .. } => format!(
            "remove them first (`sluice device list --tenant {tenant}`), or suspend them all with \
             `sluice tenant set-status {tenant} SUSPENDED`"
        ),
    };
    Failure::usage(format!("{what}: {advice}"))
}
