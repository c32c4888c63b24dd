//! `sluice quarantine replay`: judges refused messages again after their cause was corrected.
//!
//! It replays nothing itself: [`crate::quarantine`] does. The metrics of a command end with it; only
//! the daemon counts.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::filter::EventFilterArgs;
use super::replays;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, rows};
use crate::command::text::cell;
use crate::config::Config;
use crate::quarantine::replay::{ReplayPlan, ReplayResult};
use crate::telemetry::metrics::Metrics;

/// Which events to replay, and how.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The identifiers of events
    ids: Vec<Uuid>,
    #[command(flatten)]
    which: EventFilterArgs,
    /// Select every event that was not replayed yet
    #[arg(long)]
    all: bool,
    /// Only show the results; store nothing
    #[arg(long)]
    dry_run: bool,
    /// Let a daemon do it in the background: a dry run, and then the replay of exactly what was
    /// dry-run; with --dry-run only the former
    #[arg(long, conflicts_with = "limit")]
    job: bool,
    /// Replay at most this many events
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// The result of one event.
#[derive(Debug, Serialize)]
struct ReplayLine {
    id: Uuid,
    topic: String,
    refused_for: String,
    result: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
}

/// Replays the selected events; exits with 1 when one is refused again.
pub async fn run(
    args: ReplayArgs,
    config: &Config,
    operator: &CommandContext,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    if args.job {
        let ReplayArgs { ids, which, all, dry_run, .. } = &args;
        return replays::order(which, ids, *all, *dry_run, operator, output).await;
    }
    let lines = replay(&args, config, operator).await?;
    if lines.is_empty() {
        return Err(Failure::usage(
            "no such event is in quarantine; `sluice quarantine list` lists all events",
        ));
    }
    let refused = lines.iter().filter(|line| line.reason.is_some()).count();
    let headings = ["ID", "TOPIC", "WAS REFUSED FOR", "RESULT", "DETAIL"];
    printed(rows(output, &headings, &lines, |line| {
        let detail = line.detail.as_deref().map(cell).unwrap_or_default();
        vec![
            line.id.to_string(),
            cell(&line.topic),
            line.refused_for.clone(),
            line.result.into(),
            detail,
        ]
    }))?;
    crate::command::table::note!(
        "{} of {} accepted, {refused} refused again",
        lines.len() - refused,
        lines.len()
    );
    Ok(if refused == 0 { Exit::Done } else { Exit::Negative })
}

async fn replay(
    args: &ReplayArgs,
    config: &Config,
    operator: &CommandContext,
) -> Result<Vec<ReplayLine>, Failure> {
    let filter = args.which.chosen(&args.ids, args.all)?;
    let metrics =
        Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?.replay;
    let plan = ReplayPlan {
        config: &config.ingest,
        metrics,
        clock: clock::now,
        limit: args.limit,
        is_dry: args.dry_run,
        links: config.links.path.as_deref(),
    };
    let report =
        operator.quarantine().replay(filter, plan).await.map_err(|error| outage(&error))?;
    Ok(report.results.into_iter().map(ReplayLine::from).collect())
}

// === impl ReplayLine ===

impl From<ReplayResult> for ReplayLine {
    fn from(replayed: ReplayResult) -> Self {
        let refusal = replayed.refusal;
        Self {
            id: replayed.event.id,
            topic: replayed.event.topic,
            refused_for: replayed.event.reason,
            result: replayed.label,
            reason: refusal.as_ref().map(|refusal| refusal.reason.label()),
            detail: refusal.map(|refusal| format!("{}: {}", refusal.reason, refusal.detail)),
        }
    }
}
