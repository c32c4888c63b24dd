//! `sluice link forget`: deletes what belongs to a link that the links file no longer has.
//!
//! It refuses a link that is in the file, and one that a daemon has.

use clap::Args;
use serde_json::json;

use super::named;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields, note};
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::store::links::forget::{Forgetting, LinkRemains, forget, would_forget};

/// Which link to forget.
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// The link
    name: LinkName,
    /// Delete the rows; without it they are only counted
    #[arg(long)]
    yes: bool,
}

/// Forgets the link.
pub async fn run(args: ForgetArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let ForgetArgs { name, yes } = args;
    if config.links.path.is_some() && named::all(config).await?.find(name.as_str()).is_some() {
        return Err(Failure::usage(format!(
            "link {name} is in the links file: remove it there and reload the daemon, then run this command again"
        )));
    }
    let operator = CommandContext::open(config).await?;
    let (pool, actor) = (operator.database.pool(), &operator.actor);
    let done = if yes { forget(pool, actor, &name).await } else { would_forget(pool, &name).await };
    let remains = remains(done.map_err(|error| outage(&error))?, &name)?;
    if !yes {
        note!("Nothing was deleted: add --yes.");
    }
    let LinkRemains { messages, gap_messages, refused } = remains;
    let value = json!({
        "link": name.as_str(), "messages": messages, "gap_messages": gap_messages, "refused": refused, "forgotten": yes,
    });
    let lines = [
        (if yes { "Forgotten" } else { "Would forget" }, name.to_string()),
        ("Messages", messages.to_string()),
        ("In a gap", gap_messages.to_string()),
        ("Dead letters", refused.to_string()),
    ];
    printed(fields(output, &value, &lines))
}

// === private helpers ===

fn remains(done: Forgetting, name: &LinkName) -> Result<LinkRemains, Failure> {
    match done {
        Forgetting::Done(remains) => Ok(remains),
        Forgetting::Unknown => Err(Failure::usage(format!(
            "link {name} not found: nothing belongs to it; `sluice link list` lists all links"
        ))),
        Forgetting::Claimed => Err(Failure::usage(format!(
            "a daemon sends over link {name}: remove the link from its links file and reload it, then run this command again"
        ))),
        Forgetting::Reported(replica) => Err(Failure::usage(format!(
            "the daemon {replica:?} has reported link {name} within the last minute: remove the link from its links file and \
             reload it; if it has ended, run this command again in a minute"
        ))),
    }
}
