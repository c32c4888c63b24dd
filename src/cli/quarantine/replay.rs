//! `sluice quarantine replay`: judges refused messages again after their cause was corrected.
//!
//! It decides nothing: `ingest` judges, the sink stores, and a message that is refused again stays
//! in quarantine unchanged.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::filter::EventFilterArgs;
use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, rows};
use crate::command::text::cell;
use crate::config::Config;
use crate::ingest::replay::{Replayed, Replayer};
use crate::store::reads::quarantine::{self, EventSummary, QuarantineCursor, QuarantineFilter};
use crate::telemetry::metrics::Metrics;

/// Events fetched at once.
const PAGE: u32 = 500;

/// Which events, and how.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// These events
    ids: Vec<Uuid>,
    #[command(flatten)]
    which: EventFilterArgs,
    /// Every event that was not replayed yet
    #[arg(long)]
    all: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// How many at most
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
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
    let mut filter = args.which.chosen(&args.ids, args.all)?;
    // With explicit ids, report replayed events too; otherwise skip them.
    if filter.ids.is_empty() && filter.replayed.is_none() {
        filter.replayed = Some(false);
    }
    let lines = replay_all(&args, config, operator, &filter).await?;
    if lines.is_empty() {
        return Err(Failure::usage(
            "no such event is in quarantine; `sluice quarantine list` shows those there are",
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

async fn replay_all(
    args: &ReplayArgs,
    config: &Config,
    operator: &CommandContext,
    filter: &QuarantineFilter,
) -> Result<Vec<ReplayLine>, Failure> {
    let metrics =
        Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?.ingest;
    let (database, pool) = (&operator.database, operator.database.pool());
    let directory = database.directory();
    let sink = if args.dry_run { database.rehearsal() } else { database.sink() };
    let mut replayer =
        Replayer::new(&config.ingest, directory, sink, metrics, clock::now, args.dry_run);
    let (mut lines, mut after): (Vec<ReplayLine>, Option<QuarantineCursor>) = (Vec::new(), None);
    loop {
        let room =
            args.limit.saturating_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX)).min(PAGE);
        if room == 0 {
            return Ok(lines);
        }
        let page =
            quarantine::fetch(pool, filter, after, room).await.map_err(|error| outage(&error))?;
        let Some(last) = page.last() else { return Ok(lines) };
        after = Some(last.summary.place());
        let mut done = Vec::new();
        for record in &page {
            let outcome = match record.summary.replayed_at {
                Some(_) => Replayed::Before,
                None => replayer.replay(record.delivery()).await.map_err(|error| outage(&error))?,
            };
            let line = ReplayLine::new(&record.summary, replayer.label(&outcome), outcome);
            if !args.dry_run && line.reason.is_none() {
                done.push(record.summary.place());
            }
            lines.push(line);
        }
        if !done.is_empty() {
            let marked =
                quarantine::mark_replayed(pool, &operator.actor, &done, clock::now()).await;
            marked.map_err(|error| outage(&error))?;
        }
    }
}

// === impl ReplayLine ===

impl ReplayLine {
    fn new(event: &EventSummary, result: &'static str, replayed: Replayed) -> Self {
        let refusal = if let Replayed::Refused(refusal) = replayed { Some(refusal) } else { None };
        Self {
            id: event.id,
            topic: event.topic.clone(),
            refused_for: event.reason.clone(),
            result,
            reason: refusal.as_ref().map(|refusal| refusal.reason.label()),
            detail: refusal.map(|refusal| format!("{}: {}", refusal.reason, refusal.detail)),
        }
    }
}
