//! Replays as jobs, as an operator orders them: a dry run of a filter, the replay of exactly what was
//! dry-run, stop; and what changed between the two.
//!
//! The task of [`super::replay_worker`] does the work.

use uuid::Uuid;

use super::Quarantine;
use super::search::as_search;
use crate::domain::ports::Outage;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::quarantine::filter::QuarantineFilter;
use crate::store::quarantine::replay_job::{
    ReplayJob, ReplayStage, ReplayStatus, ResultCount, StageTally,
};
use crate::store::quarantine::replay_jobs::{self as jobs, NewReplay, ReplayJobError};

/// A result whose count in the replay differs from the dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedResult {
    /// The result of the replay.
    pub result: String,
    /// The reason, if the messages were refused again.
    pub reason: Option<String>,
    /// How many messages had it in the dry run.
    pub dry_run: u64,
    /// How many messages had it in the replay.
    pub replay: u64,
}

/// The result `gone`: a message of the dry run that the replay did not find.
const GONE: &str = "gone";

// === impl Quarantine ===

impl Quarantine<'_> {
    /// Orders a dry run. Its upper time is now, or the filter's own if that is earlier.
    pub async fn order_replay(
        &self,
        filter: &QuarantineFilter,
        search: &str,
    ) -> Result<ReplayJob, ReplayJobError> {
        let search = as_search(filter, search);
        let job = NewReplay { filter, search: &search };
        jobs::create(self.database.pool(), self.actor, job).await
    }

    /// Begins the replay of what was dry-run, or continues a stopped job.
    pub async fn start_replay(&self, id: Uuid) -> Result<ReplayJob, ReplayJobError> {
        jobs::start(self.database.pool(), self.actor, id).await
    }

    /// Stops a running job.
    pub async fn stop_replay(&self, id: Uuid) -> Result<ReplayJob, ReplayJobError> {
        jobs::stop(self.database.pool(), self.actor, id).await
    }

    /// Finds a job.
    pub async fn find_replay(&self, id: Uuid) -> Result<Option<ReplayJob>, Outage> {
        jobs::find(self.database.pool(), id).await
    }

    /// Lists the jobs of a tenant, or all of them, the newest first.
    pub async fn list_replays(
        &self,
        tenant: Option<&str>,
        before: Option<QuarantineCursor>,
        limit: u32,
    ) -> Result<Vec<ReplayJob>, Outage> {
        jobs::list(self.database.pool(), tenant, before, limit).await
    }
}

/// What a finished replay did otherwise than its dry run.
pub fn changes(job: &ReplayJob) -> Vec<ChangedResult> {
    let is_done = (job.stage, job.status) == (ReplayStage::Replay, ReplayStatus::Done);
    let Some(dry_run) = job.dry_run.as_ref().filter(|_| is_done) else { return Vec::new() };
    let mut changes: Vec<ChangedResult> = Vec::new();
    for row in &job.tally.results {
        change_of(&mut changes, row).replay += row.count;
    }
    for row in &dry_run.results {
        change_of(&mut changes, row).dry_run += row.count;
    }
    let gone = dry_run.done.saturating_sub(job.tally.done);
    if gone > 0 {
        let row = ChangedResult { result: GONE.to_owned(), reason: None, dry_run: 0, replay: gone };
        changes.push(row);
    }
    changes.retain(|change| change.dry_run != change.replay);
    changes
}

/// How many messages a replay of this dry run would store.
pub fn storable(tally: &StageTally) -> u64 {
    let rows = tally.results.iter().filter(|row| row.result == "would be stored");
    rows.map(|row| row.count).sum()
}

// === private helpers ===

/// A dry run says what a replay would do.
fn change_of<'a>(changes: &'a mut Vec<ChangedResult>, row: &ResultCount) -> &'a mut ChangedResult {
    let result = if row.result == "would be stored" { "stored" } else { row.result.as_str() };
    let place = changes
        .iter()
        .position(|change| change.result == result && change.reason == row.reason)
        .unwrap_or_else(|| {
            let (result, reason) = (result.to_owned(), row.reason.clone());
            changes.push(ChangedResult { result, reason, dry_run: 0, replay: 0 });
            changes.len() - 1
        });
    &mut changes[place]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[(&str, Option<&str>, u64)]) -> StageTally {
        let row = |(result, reason, count): &(&str, Option<&str>, u64)| ResultCount {
            result: (*result).to_owned(),
            reason: reason.map(str::to_owned),
            count: *count,
            example: Uuid::nil(),
        };
        let done = rows.iter().map(|row| row.2).sum();
        StageTally { total: Some(done), done, results: rows.iter().map(row).collect() }
    }

    #[test]
    fn what_changed_since_the_dry_run_is_said_and_nothing_else() {
        let now = crate::clock::now().to_utc();
        let mut job = ReplayJob {
            id: Uuid::nil(),
            tenant: None,
            stage: ReplayStage::Replay,
            status: ReplayStatus::Done,
            search: String::new(),
            until: now,
            created_at: now,
            created_by: "api".into(),
            started_at: None,
            started_by: None,
            ended_at: None,
            moved_at: now,
            is_worked_on: false,
            trouble: None,
            tally: tally(&[("stored", None, 608), ("refused", Some("SITE_MISMATCH"), 2)]),
            dry_run: Some(tally(&[
                ("would be stored", None, 610),
                ("refused", Some("SITE_MISMATCH"), 2),
            ])),
        };
        let changed = |result: &str, dry_run, replay| ChangedResult {
            result: result.to_owned(),
            reason: None,
            dry_run,
            replay,
        };
        assert_eq!(changes(&job), [changed("stored", 610, 608), changed("gone", 0, 2)]);
        assert_eq!(storable(job.dry_run.as_ref().unwrap()), 610);
        job.tally = tally(&[("refused", Some("SITE_MISMATCH"), 2), ("stored", None, 610)]);
        assert_eq!(changes(&job), []);
        job.status = ReplayStatus::Running;
        job.tally = tally(&[("stored", None, 1)]);
        assert_eq!(changes(&job), [], "it is not done");
    }
}
