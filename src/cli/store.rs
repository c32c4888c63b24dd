//! `sluice store`: shows the engine of the database, spreads telemetry over the nodes of Citus, and
//! makes it a hypertable of Timescale.
//!
//! It prints the statements first, and runs them only with `--yes`.

use clap::Subcommand;
use serde_json::json;

use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::NONE;
use crate::config::Config;
use crate::store::layout::change::{self, LayoutChange, LayoutRefusal};
use crate::store::layout::status;

/// The engine of the database, and the layout of telemetry.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Show the engine, and how telemetry lies on it
    #[command(after_help = "Example:\n  sluice store status")]
    Status,
    /// Spread telemetry over the nodes of Citus; without --yes print the statements
    #[command(
        after_help = "Writers wait while the rows move. The registry and all other tables stay on the coordinator. Exit code 1 when \
            the change is refused.\n\n\
            Examples:\n  sluice store spread\n  sluice store spread --shards 64 --yes"
    )]
    Spread {
        /// The column that decides the node of a row
        #[arg(long, default_value = "device_id", value_parser = ["device_id"])]
        by: String,
        /// Parts that the rows are spread over; without it 4 for each node. Choose a few for each node that you
        /// will ever have: more make each batch more expensive
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
        shards: Option<u32>,
        /// Make the change
        #[arg(long)]
        yes: bool,
    },
    /// Make telemetry a hypertable of Timescale; without --yes print the statements
    #[command(
        after_help = "Writers wait while the rows move. A table with a columnstore has no row-level security: dashboards read the \
            view telemetry_mine. COLUMNSTORE_AFTER_DAYS says when a day moves into the columnstore. Exit code 1 when the change is \
            refused.\n\n\
            Examples:\n  sluice store hypertable\n  sluice store hypertable --columnstore --yes"
    )]
    Hypertable {
        /// Prepare the columnstore
        #[arg(long)]
        columnstore: bool,
        /// Make the change
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the command.
pub async fn run(
    command: StoreCommand,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    match command {
        StoreCommand::Status => show(&operator, output).await,
        StoreCommand::Spread { by: _, shards, yes } => {
            change(&operator, LayoutChange::Spread { shards }, yes, output).await
        }
        StoreCommand::Hypertable { columnstore, yes } => {
            change(&operator, LayoutChange::Hypertable { columnstore }, yes, output).await
        }
    }
}

// === private helpers ===

async fn show(operator: &CommandContext, output: OutputFormat) -> Result<Exit, Failure> {
    let status = status::read(&operator.database).await.map_err(|error| outage(&error))?;
    let readers =
        if status.open_to.is_empty() { NONE.to_owned() } else { status.open_to.join(", ") };
    let lines = [
        ("Engine", format!("{} {}", status.engine, status.version)),
        ("Telemetry", status.layout.to_owned()),
        ("Partitions", status.parts.to_string()),
        ("In columnstore", status.in_columnstore.to_string()),
        ("Shards", status.shards.to_string()),
        ("Nodes", status.nodes.to_string()),
        ("Bytes", status.bytes.to_string()),
        ("Readers of all", readers),
    ];
    printed(fields(output, &status, &lines))
}

async fn change(
    operator: &CommandContext,
    change: LayoutChange,
    yes: bool,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let plan = change::plan(&operator.database, change).await.map_err(unchanged)?;
    let mut lines: Vec<(&str, String)> =
        plan.statements.iter().map(|statement| ("SQL", format!("{statement};"))).collect();
    lines.push(("Rows", format!("about {}", plan.rows)));
    if yes {
        let action = match change {
            LayoutChange::Spread { .. } => "store.spread",
            LayoutChange::Hypertable { .. } => "store.hypertable",
        };
        let applied = change::apply(&operator.database, &plan, &operator.actor, action).await;
        applied.map_err(unchanged)?;
        lines.push(("Changed", "yes; restart the daemons".to_owned()));
    }
    let value = json!({ "statements": plan.statements, "rows": plan.rows, "changed": yes });
    let done = printed(fields(output, &value, &lines))?;
    if !yes {
        eprintln!("Nothing was changed. Writers wait while the rows move; add --yes to change it.");
    }
    Ok(done)
}

fn unchanged(refusal: LayoutRefusal) -> Failure {
    match refusal {
        LayoutRefusal::Outage(error) => outage(&error),
        refusal => Failure::new(Exit::Negative, format!("nothing was changed: {refusal}")),
    }
}
