//! Replays quarantined messages: judges each again, stores what is accepted now, marks it as
//! replayed and counts it.
//!
//! A message that is refused again stays in quarantine; its row counts the attempt, and no metric
//! does: it was counted when it arrived. A dry run stores, marks and counts nothing.

use std::path::Path;

use super::Quarantine;
use crate::config::sections::ingest::IngestConfig;
use crate::domain::forwarding::ForwardPlan;
use crate::domain::ports::{Directory, Outage, Sink};
use crate::domain::refusal::Refusal;
use crate::domain::time::Clock;
use crate::ingest::replay::{Replayed, Replayer};
use crate::link::file;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::reads::quarantine::{self as events, EventSummary, Record};
use crate::telemetry::ingest::IngestMetrics;

/// Events fetched at once: each may hold a payload of `QUARANTINE_PAYLOAD_MAX` bytes.
const PAGE: u32 = 500;

/// The name under which replayed messages are counted for links.
pub(super) const WRITER: &str = "command";

/// How to replay.
#[derive(Clone, Debug)]
pub struct ReplayPlan<'a> {
    /// The settings by which each message is judged.
    pub config: &'a IngestConfig,
    /// Counts each message by its result: the field `replay` of
    /// [`Metrics`](crate::telemetry::metrics::Metrics).
    pub metrics: IngestMetrics,
    /// The time of the decisions.
    pub clock: Clock,
    /// The most events.
    pub limit: u32,
    /// Only report what would happen.
    pub is_dry: bool,
    /// The links file (`LINKS_PATH`): what is accepted now is forwarded, too.
    pub links: Option<&'a Path>,
}

/// The results of a replay.
#[derive(Debug)]
pub struct ReplayReport {
    /// One for each event, the oldest first.
    pub results: Vec<ReplayResult>,
    /// Whether more events than the limit are selected.
    pub more: bool,
}

/// The result of one event.
#[derive(Debug)]
pub struct ReplayResult {
    /// The event.
    pub event: EventSummary,
    /// `stored`, `would be stored`, `stored before`, `replayed before`, `ignored` or `refused`.
    pub label: &'static str,
    /// Why it is refused again.
    pub refusal: Option<Refusal>,
}

// === impl Quarantine ===

impl Quarantine<'_> {
    /// Replays the selected events, the oldest first. By identifier every event is reported; any
    /// other filter skips the events that were replayed already, unless it selects them.
    pub async fn replay(
        &self,
        mut filter: QuarantineFilter,
        plan: ReplayPlan<'_>,
    ) -> Result<ReplayReport, Outage> {
        if filter.ids.is_empty() && filter.replayed.is_none() {
            filter.replayed = Some(false);
        }
        let sink = if plan.is_dry {
            self.database.rehearsal()
        } else {
            self.database.sink().of_client(WRITER)
        };
        let mut replayer = Replayer::new(
            plan.config,
            self.database.directory(),
            sink,
            plan.metrics.clone(),
            plan.clock,
            plan.is_dry,
        );
        replayer.forwarding(forward_plan(plan.links)?);
        let mut results: Vec<ReplayResult> = Vec::new();
        let mut after: Option<QuarantineCursor> = None;
        loop {
            let reported = u32::try_from(results.len()).unwrap_or(u32::MAX);
            let room = plan.limit.saturating_sub(reported).min(PAGE);
            // One more than there is room for shows whether there are more.
            let mut page =
                events::fetch(self.database.pool(), &filter, after, room.saturating_add(1)).await?;
            let more = page.len() > room as usize;
            page.truncate(room as usize);
            after = page.last().map(|last| last.summary.place());
            results.extend(self.replay_page(&mut replayer, page, &plan).await?);
            if !more || after.is_none() || results.len() >= plan.limit as usize {
                return Ok(ReplayReport { results, more });
            }
        }
    }

    /// Replays a page and marks what was accepted.
    async fn replay_page<D: Directory, S: Sink>(
        &self,
        replayer: &mut Replayer<D, S>,
        page: Vec<Record>,
        plan: &ReplayPlan<'_>,
    ) -> Result<Vec<ReplayResult>, Outage> {
        let mut results = Vec::with_capacity(page.len());
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for record in page {
            let outcome = match record.summary.replayed_at {
                Some(_) => Replayed::Before,
                None => replayer.replay(record.delivery()).await?,
            };
            if !plan.is_dry {
                count(&plan.metrics, &outcome);
            }
            let label = replayer.label(&outcome);
            let refusal =
                if let Replayed::Refused(refusal) = outcome { Some(refusal) } else { None };
            let side = if refusal.is_none() { &mut accepted } else { &mut refused };
            side.push(record.summary.place());
            results.push(ReplayResult { event: record.summary, label, refusal });
        }
        if !plan.is_dry {
            let (pool, now) = (self.database.pool(), (plan.clock)());
            events::mark_replayed(pool, self.actor, &accepted, now).await?;
            events::count_attempts(pool, &refused).await?;
        }
        Ok(results)
    }
}

// === private helpers ===

/// Which messages go over which link.
pub(super) fn forward_plan(links: Option<&Path>) -> Result<ForwardPlan, Outage> {
    let Some(path) = links else { return Ok(ForwardPlan::default()) };
    Ok(file::load(path).map_err(|error| Outage(error.to_string()))?.plan())
}

/// Counts a replayed message.
pub(super) fn count(metrics: &IngestMetrics, replayed: &Replayed) {
    match replayed {
        Replayed::Accepted => metrics.stored.inc(),
        Replayed::Duplicate => metrics.duplicate.inc(),
        Replayed::Ignored => metrics.ignored.inc(),
        Replayed::Before | Replayed::LeftOut | Replayed::Refused(_) => {}
    }
}
