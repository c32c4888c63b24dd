//! `sluice operator`: add, list, set-role, token, remove: who may use the console and the API by
//! name.
//!
//! A token is printed once, by the command that makes it.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::list_args::PageArgs;
use crate::command::table::{OutputFormat, fields, note, rows};
use crate::command::text::moment;
use crate::config::Config;
use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::domain::operator::OperatorName;
use crate::registry::operators::{self as registry, OperatorChangeError};
use crate::store::console::operators::{self, OperatorError, OperatorRow};

/// Manage operators: the people and programs that use the console and the API by name.
#[derive(Clone, Debug, Subcommand)]
pub enum OperatorCommand {
    /// Add an operator and print the token, which is shown only once
    #[command(
        after_help = "A viewer reads. An operator also explains, replays, activates and deactivates, rotates and revokes. An admin does \
            everything.\n\nThe token signs in at the console, and is a bearer token of the API.\n\n\
            Examples:\n  sluice operator add alice --role operator\n  sluice operator add dash --role viewer --tenant acme"
    )]
    Add {
        /// The operator's name: 1 to 64 characters of A-Z a-z 0-9 . _ @ -
        name: OperatorName,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// List operators by name
    #[command(after_help = "Example:\n  sluice operator list")]
    List(PageArgs<OperatorName>),
    /// Change what an operator may do; the operator's sessions end
    #[command(after_help = "Example:\n  sluice operator set-role alice --role admin")]
    SetRole {
        /// The operator's name
        name: OperatorName,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Replace the token of an operator and print the new one; the operator's sessions end
    #[command(after_help = "Example:\n  sluice operator token alice")]
    Token {
        /// The operator's name
        name: OperatorName,
    },
    /// Remove an operator; the token and the operator's sessions end
    #[command(after_help = "Example:\n  sluice operator remove alice")]
    Remove {
        /// The operator's name
        name: OperatorName,
    },
}

/// What an operator may do.
#[derive(Clone, Debug, Args)]
pub struct GrantArgs {
    /// viewer, operator or admin
    #[arg(long, value_parser = read_role)]
    role: CallerRole,
    /// The only tenant that the operator may read and change; by default all tenants
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// Runs the command.
pub async fn run(
    command: OperatorCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let context = CommandContext::open(config).await?;
    let pool = context.database.pool();
    match command {
        OperatorCommand::Add { name, grant } => {
            let action = context.action_context();
            let added = registry::add(action, &name, grant.role, grant.tenant.as_ref()).await;
            let (row, token) = added.map_err(explain_change)?;
            print_token(&row, &token, output)
        }
        OperatorCommand::List(args) => list(&context, &args, output).await,
        OperatorCommand::SetRole { name, grant } => {
            let tenant = grant.tenant.as_ref();
            let changed =
                operators::set_role(pool, &context.actor, &name, grant.role, tenant).await;
            let row = changed.map_err(explain)?;
            printed(fields(output, &row, &lines(&row)))
        }
        OperatorCommand::Token { name } => {
            let made = registry::replace_token(context.action_context(), &name).await;
            let (row, token) = made.map_err(explain_change)?;
            print_token(&row, &token, output)
        }
        OperatorCommand::Remove { name } => {
            operators::remove(pool, &context.actor, &name).await.map_err(explain)?;
            let value = json!({ "removed": name.as_str() });
            printed(fields(output, &value, &[("Removed", name.to_string())]))
        }
    }
}

/// Reads the name of a role.
pub(crate) fn read_role(text: &str) -> Result<CallerRole, &'static str> {
    CallerRole::from_label(text).ok_or("expected viewer, operator or admin")
}

// === private helpers ===

async fn list(
    context: &CommandContext,
    args: &PageArgs<OperatorName>,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let (pool, after) = (context.database.pool(), args.cursor());
    let page = operators::list(pool, after.as_ref(), args.limit).await.map_err(explain)?;
    let headings = ["OPERATOR", "ROLE", "TENANT", "ADDED", "TOKEN MADE", "SESSIONS"];
    let exit = printed(rows(output, &headings, &page, |row| {
        vec![
            row.name.clone(),
            row.role.clone(),
            row.tenant_id.clone().unwrap_or_else(|| "all".to_owned()),
            moment(row.created_at),
            moment(row.token_made_at),
            row.sessions.to_string(),
        ]
    }))?;
    args.note_next(page.len(), page.last().map(|row| &row.name));
    Ok(exit)
}

fn print_token(row: &OperatorRow, token: &str, output: OutputFormat) -> Result<Exit, Failure> {
    let mut value = json!(row);
    value["token"] = token.into();
    let mut shown = lines(row);
    shown.push(("Token", token.to_owned()));
    if output == OutputFormat::Table {
        note!("Sluice stores only the hash of the token: copy it now");
    }
    printed(fields(output, &value, &shown))
}

fn lines(row: &OperatorRow) -> Vec<(&'static str, String)> {
    vec![
        ("Operator", row.name.clone()),
        ("Role", row.role.clone()),
        ("Tenant", row.tenant_id.clone().unwrap_or_else(|| "all".to_owned())),
        ("Added", moment(row.created_at)),
    ]
}

fn explain_change(error: OperatorChangeError) -> Failure {
    match error {
        OperatorChangeError::Store(error) => explain(error),
        OperatorChangeError::Token(error) => Failure::new(Exit::Internal, error.to_string()),
    }
}

fn explain(error: OperatorError) -> Failure {
    let what = error.to_string();
    let advice = match error {
        OperatorError::Outage(trouble) => return outage(&trouble),
        OperatorError::Exists(name) => {
            format!("`sluice operator token {name}` replaces the token")
        }
        OperatorError::Unknown(_) => "`sluice operator list` lists all operators".to_owned(),
        OperatorError::NoTenant(_) => "`sluice tenant list` lists all tenants".to_owned(),
        OperatorError::TooMany => "remove one first (`sluice operator remove`)".to_owned(),
    };
    Failure::usage(format!("{what}: {advice}"))
}
