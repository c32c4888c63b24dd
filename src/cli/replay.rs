//! `sluice quarantine replay`: refused messages go the whole road again, once what was wrong is mended.
//!
//! It decides nothing: the spine judges, the sink stores, and what is refused again stays in quarantine as it is.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::operator::{Operator, outage, printed};
use super::output::{Output, rows};
use super::printable::printable;
use super::quarantine::Which;
use super::{Exit, Failure};
use crate::clock;
use crate::config::Config;
use crate::ingest::authorize::Authorizer;
use crate::ingest::grants::Grants;
use crate::ingest::replay::{self, Replayed};
use crate::store::connect::Database;
use crate::store::directory::PgDirectory;
use crate::store::quarantine::{self, Filter, Place, Record};
use crate::store::sink::PgSink;
use crate::telemetry::metrics::Metrics;

/// Events fetched at once.
const PAGE: u32 = 500;

/// Which events, and how.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// These events
    ids: Vec<Uuid>,
    #[command(flatten)]
    which: Which,
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

/// What became of one event.
#[derive(Debug, Serialize)]
struct Line {
    id: Uuid,
    topic: String,
    refused_for: String,
    result: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
}

/// The road, as far as a replay needs it.
struct Road {
    authorizer: Authorizer<PgDirectory>,
    sink: PgSink,
    dry_run: bool,
}

/// Replays; ends with 1 when something was refused again.
pub async fn run(args: ReplayArgs, config: &Config, operator: &Operator, output: Output) -> Result<Exit, Failure> {
    let mut filter = args.which.filter(args.ids);
    if filter.is_everything() != args.all {
        return Err(Failure::usage(
            "name what to replay: identifiers, conditions such as --tenant or --reason, or --all alone",
        ));
    }
    // By identifier it is said of each what became of it; else those that were replayed are done.
    if filter.ids.is_empty() && filter.replayed.is_none() {
        filter.replayed = Some(false);
    }
    let mut road = Road::new(config, &operator.database, args.dry_run)?;
    let lines = replay_all(&mut road, operator, &filter, args.limit).await?;
    if lines.is_empty() {
        return Err(Failure::usage("no such event is in quarantine; `sluice quarantine list` shows those there are"));
    }
    let refused = lines.iter().filter(|line| line.reason.is_some()).count();
    let headings = ["ID", "TOPIC", "WAS REFUSED FOR", "RESULT", "DETAIL"];
    printed(rows(output, &headings, &lines, |line| {
        let detail = line.detail.as_deref().map(printable).unwrap_or_default();
        vec![line.id.to_string(), printable(&line.topic), line.refused_for.clone(), line.result.into(), detail]
    }))?;
    eprintln!("{} of {} accepted, {refused} refused again", lines.len() - refused, lines.len());
    Ok(if refused == 0 { Exit::Done } else { Exit::Negative })
}

async fn replay_all(road: &mut Road, operator: &Operator, filter: &Filter, limit: u32) -> Result<Vec<Line>, Failure> {
    let pool = operator.database.pool();
    let (mut lines, mut after): (Vec<Line>, Option<Place>) = (Vec::new(), None);
    loop {
        let room = limit.saturating_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX)).min(PAGE);
        if room == 0 {
            return Ok(lines);
        }
        let page = quarantine::fetch(pool, filter, after, room).await.map_err(|error| outage(&error))?;
        let Some(last) = page.last() else { return Ok(lines) };
        after = Some(last.summary.place());
        let mut done = Vec::new();
        for record in &page {
            let line = road.replay(record).await.map_err(|error| outage(&error))?;
            if !road.dry_run && line.reason.is_none() {
                done.push(record.summary.place());
            }
            lines.push(line);
        }
        if !done.is_empty() {
            let marked = quarantine::mark_replayed(pool, &operator.actor, &done, clock::now()).await;
            marked.map_err(|error| outage(&error))?;
        }
    }
}

// === impl Road ===

impl Road {
    fn new(config: &Config, database: &Database, dry_run: bool) -> Result<Self, Failure> {
        let metrics = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let mut ingest = config.ingest.clone();
        // The device was charged for these messages when it sent them. Whether to register an unknown one is for the
        // operator to decide, who is right here.
        ingest.rate_limit = None;
        ingest.auto_provision = false;
        let grants = Grants::new(&ingest);
        let authorizer = Authorizer::new(database.directory(), &ingest, grants, metrics.ingest, clock::now);
        Ok(Self { authorizer, sink: database.sink(), dry_run })
    }

    async fn replay(&mut self, record: &Record) -> Result<Line, crate::domain::ports::Outage> {
        let event = &record.summary;
        let result = if event.replayed_at.is_some() {
            None
        } else {
            let (judged, batch) = replay::judge(&mut self.authorizer, record.delivery()).await?;
            let stores = judged == Replayed::Accepted && !self.dry_run;
            Some(if stores { replay::store(&mut self.sink, batch).await? } else { judged })
        };
        let (result, refusal) = match result {
            None => ("replayed before", None),
            Some(Replayed::Accepted) => (if self.dry_run { "would be stored" } else { "stored" }, None),
            Some(Replayed::Duplicate) => ("stored before", None),
            Some(Replayed::Ignored) => ("ignored", None),
            Some(Replayed::Refused(refusal)) => ("refused", Some(refusal)),
        };
        Ok(Line {
            id: event.id,
            topic: event.topic.clone(),
            refused_for: event.reason.clone(),
            result,
            reason: refusal.as_ref().map(|refusal| refusal.reason.label()),
            detail: refusal.map(|refusal| format!("{}: {}", refusal.reason, refusal.detail)),
        })
    }
}
