//! The view of a replay job of the quarantine. It contains no payload.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::quarantine::replay_jobs::{self, ChangedResult, storable};
use crate::store::quarantine::replay_job::{ReplayJob, ResultCount, StageTally};

/// A job that dry-runs, and then replays, refused messages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QuarantineReplay")]
pub(crate) struct ReplayJobView {
    /// The identifier of the job.
    pub(crate) id: Uuid,
    /// The tenant of the messages; null: all tenants.
    pub(crate) tenant: Option<String>,
    /// `DRY_RUN`: the job finds out what a replay would do. `REPLAY`: it replays.
    pub(crate) stage: String,
    /// `RUNNING`, `STOPPED` or `DONE`: how far the stage is.
    pub(crate) status: String,
    /// Which messages, as a search.
    pub(crate) search: String,
    /// Messages that were quarantined at this time or later do not belong to the job.
    pub(crate) until: DateTime<Utc>,
    /// When the dry run was ordered.
    pub(crate) created_at: DateTime<Utc>,
    /// Who ordered the dry run.
    pub(crate) created_by: String,
    /// When the replay was ordered; null: not yet.
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// Who ordered the replay; null: not ordered yet.
    pub(crate) started_by: Option<String>,
    /// When the stage ended; null: not yet.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// When the job last made progress.
    pub(crate) moved_at: DateTime<Utc>,
    /// Whether a daemon works on the job.
    pub(crate) is_worked_on: bool,
    /// Why the last step failed; null: it did not fail.
    pub(crate) trouble: Option<String>,
    /// The number of messages when the stage began; null: not counted yet.
    pub(crate) total: Option<u64>,
    /// The messages that the stage has checked.
    pub(crate) done: u64,
    /// The results of the stage.
    pub(crate) results: Vec<ReplayResultView>,
    /// The dry run, once the replay was ordered.
    pub(crate) dry_run: Option<DryRunView>,
    /// What the finished replay did otherwise than its dry run.
    pub(crate) changes: Vec<ReplayChangeView>,
}

/// How many messages have one result.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReplayResultCount")]
pub(crate) struct ReplayResultView {
    /// `would be stored`, `stored`, `stored before`, `replayed before`, `ignored`, `left out` (refused
    /// by ten replays already) or `refused`.
    pub(crate) result: String,
    /// The reason, if the messages are refused again.
    pub(crate) reason: Option<String>,
    /// The number of messages.
    pub(crate) count: u64,
    /// The identifier of one of the messages.
    pub(crate) example: Uuid,
}

/// What a dry run has found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReplayDryRun")]
pub(crate) struct DryRunView {
    /// The number of messages when it began.
    pub(crate) total: Option<u64>,
    /// The messages that it checked.
    pub(crate) done: u64,
    /// How many messages a replay would have stored.
    pub(crate) storable: u64,
    /// The results.
    pub(crate) results: Vec<ReplayResultView>,
}

/// A result whose count in the replay differs from the dry run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReplayChange")]
pub(crate) struct ReplayChangeView {
    /// The result; `gone`: messages that were discarded, replayed or too old meanwhile.
    pub(crate) result: String,
    /// The reason, if the messages were refused again.
    pub(crate) reason: Option<String>,
    /// How many messages had it in the dry run.
    pub(crate) dry_run: u64,
    /// How many messages had it in the replay.
    pub(crate) replay: u64,
}

// === impl ReplayJobView ===

impl ReplayJobView {
    /// How many messages a replay would store, as far as the dry run has come.
    pub(crate) fn storable(&self) -> u64 {
        let rows = self.results.iter().filter(|row| row.result == "would be stored");
        rows.map(|row| row.count).sum()
    }
}

impl From<ReplayJob> for ReplayJobView {
    fn from(job: ReplayJob) -> Self {
        let changes = replay_jobs::changes(&job).into_iter().map(ReplayChangeView::from).collect();
        let StageTally { total, done, results } = job.tally;
        Self {
            id: job.id,
            tenant: job.tenant,
            stage: job.stage.label().to_owned(),
            status: job.status.label().to_owned(),
            search: job.search,
            until: job.until,
            created_at: job.created_at,
            created_by: job.created_by,
            started_at: job.started_at,
            started_by: job.started_by,
            ended_at: job.ended_at,
            moved_at: job.moved_at,
            is_worked_on: job.is_worked_on,
            trouble: job.trouble,
            total,
            done,
            results: views(results),
            dry_run: job.dry_run.map(DryRunView::from),
            changes,
        }
    }
}

// === impl DryRunView ===

impl From<StageTally> for DryRunView {
    fn from(tally: StageTally) -> Self {
        let storable = storable(&tally);
        Self { total: tally.total, done: tally.done, storable, results: views(tally.results) }
    }
}

// === impl ReplayChangeView ===

impl From<ChangedResult> for ReplayChangeView {
    fn from(change: ChangedResult) -> Self {
        let ChangedResult { result, reason, dry_run, replay } = change;
        Self { result, reason, dry_run, replay }
    }
}

// === private helpers ===

fn views(results: Vec<ResultCount>) -> Vec<ReplayResultView> {
    let view = |row: ResultCount| ReplayResultView {
        result: row.result,
        reason: row.reason,
        count: row.count,
        example: row.example,
    };
    results.into_iter().map(view).collect()
}
