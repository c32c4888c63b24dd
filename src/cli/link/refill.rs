//! `sluice link refill`: queues the stored messages of a period for a link again.
//!
//! The rules are those of the links file here, which must be the one of the daemon.

use clap::Args;
use serde_json::json;

use super::named;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::moment_or_none;
use crate::config::Config;
use crate::domain::link::LinkName;
use crate::domain::time_range::TimeBound;
use crate::store::links::refill_range::{RefillRange, count_range, refill_range};

/// Which messages to queue.
#[derive(Clone, Debug, Args)]
pub struct RefillArgs {
    /// The link
    name: LinkName,
    /// Messages that Sluice received from this time on: RFC 3339, or a span before now such as 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: TimeBound,
    /// Messages that Sluice received before this time, in the same forms; now without it
    #[arg(long, value_name = "TIME")]
    until: Option<TimeBound>,
    /// Only count the messages and their bytes
    #[arg(long)]
    dry_run: bool,
}

/// Queues the messages.
pub async fn run(args: RefillArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let set = named::all(config).await?;
    let link = named::find(&set, &args.name)?;
    let now = clock::now();
    let (since, until) = (args.since.at(now), args.until.map_or(now, |until| until.at(now)));
    if since >= until {
        return Err(Failure::usage("--since must be before --until"));
    }
    let Some(routes) = set.plan().links.into_iter().find(|routes| routes.link == link.name) else {
        return Err(Failure::usage(format!(
            "link {} forwards nothing: it has no publish rules",
            link.name
        )));
    };
    let operator = CommandContext::open(config).await?;
    let (pool, range) = (operator.database.pool(), RefillRange { since, until });
    let sums = if args.dry_run {
        count_range(pool, &routes, range).await
    } else {
        refill_range(pool, &operator.actor, &routes, range).await
    };
    let sums = sums.map_err(|error| outage(&error))?;
    let value = json!({
        "link": link.name.as_str(), "since": since.to_string(), "until": until.to_string(), "messages": sums.messages,
        "bytes": sums.bytes, "first": sums.first, "last": sums.last, "queued": !args.dry_run,
    });
    let lines = [
        (if args.dry_run { "Would queue" } else { "Queued" }, sums.messages.to_string()),
        ("Bytes", sums.bytes.to_string()),
        ("First", moment_or_none(sums.first)),
        ("Last", moment_or_none(sums.last)),
        ("Since", since.to_string()),
        ("Until", until.to_string()),
    ];
    printed(fields(output, &value, &lines))
}
