//! `sluice retention`: shows what the next retention round would delete or why it is held, and
//! confirms a round that advances by many days.
//!
//! While the clocks of this machine and of Postgres differ it deletes nothing, confirmed or not.

use clap::Args;
use serde_json::json;

use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::config::Config;
use crate::store::connection::clocks;
use crate::store::schema::partitions;
use crate::store::schema::retention::{self, Prospect, Retention};

/// Shows the data that is past its retention, and with `--yes` deletes it.
#[derive(Clone, Debug, Args)]
pub struct RetentionArgs {
    /// Delete the data that is past its retention now, also when that is many days' data
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(
    args: RetentionArgs,
    config: &Config,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let operator = CommandContext::open(config).await?;
    let pool = operator.database.pool();
    let clocks = clocks::read_once(pool, clock::now).await.map_err(|error| outage(&error))?;
    let retention = Retention { confirmed: args.yes, ..Retention::from(&config.database) };
    let prospect =
        retention::look(pool, retention, clocks).await.map_err(|error| outage(&error))?;
    let mut lines = vec![
        ("This machine", clocks.own.to_string()),
        ("Postgres", clocks.database.to_string()),
        ("Last round", prospect.last_day.to_string()),
        ("This round", prospect.day.to_string()),
        ("Past retention", list(&prospect)),
        ("Held", prospect.held.clone().unwrap_or_else(|| "no".to_owned())),
    ];
    let mut value = json!({
        "clock": clocks.own.to_string(),
        "postgres_clock": clocks.database.to_string(),
        "last_day": prospect.last_day.to_string(),
        "day": prospect.day.to_string(),
        "partitions": prospect.partitions,
        "held": prospect.held,
        "deleted": false,
    });
    if args.yes && prospect.held.is_none() {
        let report =
            partitions::maintain(pool, retention, clocks).await.map_err(|error| outage(&error))?;
        let noted = retention::note_confirmed(pool, &operator.actor, prospect.day, &report).await;
        noted.map_err(|error| outage(&error))?;
        lines.push((
            "Deleted",
            format!(
                "{} partitions, {} rows and {} certificates",
                report.dropped.len(),
                report.expired,
                report.certificates
            ),
        ));
        value["deleted"] = true.into();
        value["failed"] = report.failed.into();
    } else if !args.yes {
        eprintln!(
            "Nothing was deleted. The daemon deletes this data unless it is held; add --yes to delete it now."
        );
    }
    let done = printed(fields(output, &value, &lines))?;
    Ok(if args.yes && prospect.held.is_some() { Exit::Negative } else { done })
}

fn list(prospect: &Prospect) -> String {
    match prospect.partitions.as_slice() {
        [] => "no partition".to_owned(),
        [one] => one.clone(),
        [first, .., last] => {
            format!("{} partitions, from {first} to {last}", prospect.partitions.len())
        }
    }
}
