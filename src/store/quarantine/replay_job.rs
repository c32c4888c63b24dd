//! What a replay job is: its stage, its status, its counts, and the row that has them.
//!
//! It queries nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The tenant of a job over all tenants.
pub(super) const ALL_TENANTS: &str = "";

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStage {
    /// It finds out what a replay would do, and changes nothing.
    DryRun,
    /// It replays.
    Replay,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStatus {
    /// A daemon works on it, or will.
    Running,
    /// A person has stopped it.
    Stopped,
    /// Each message was checked.
    Done,
}

/// How many messages have one result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultCount {
    /// The result.
    pub result: String,
    /// The reason, if the messages are refused again.
    pub reason: Option<String>,
    /// The number of messages.
    pub count: u64,
    /// One of the messages.
    pub example: Uuid,
}

/// What a stage has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTally {
    /// The number of selected messages when the stage began; `None`: not counted yet.
    pub total: Option<u64>,
    /// The messages that were checked.
    pub done: u64,
    /// Their results.
    pub results: Vec<ResultCount>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayJob {
    /// Its identifier.
    pub id: Uuid,
    /// The tenant of its messages; `None`: all tenants.
    pub tenant: Option<String>,
    /// What it does.
    pub stage: ReplayStage,
    /// How far it is.
    pub status: ReplayStatus,
    /// The filter as a search for people.
    pub search: String,
    /// Later messages do not belong to it.
    pub until: DateTime<Utc>,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// Who ordered it.
    pub created_by: String,
    /// When its replay was ordered.
    pub started_at: Option<DateTime<Utc>>,
    /// Who ordered its replay.
    pub started_by: Option<String>,
    /// When its stage ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it last made progress.
    pub moved_at: DateTime<Utc>,
    /// Whether a daemon works on it.
    pub is_worked_on: bool,
    /// Why its last step failed.
    pub trouble: Option<String>,
    /// The stage.
    pub tally: StageTally,
    /// The dry run, once the replay was ordered.
    pub dry_run: Option<StageTally>,
}

/// A row of the table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct JobRow {
    pub tenant_id: String,
    pub replay_id: Uuid,
    pub stage: String,
    pub status: String,
    pub selection: Value,
    pub search: String,
    pub until_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    pub created_by: String,
    started_at: Option<DateTime<Utc>>,
    pub started_by: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    pub total: Option<i64>,
    pub done: i64,
    pub results: Value,
    pub after_at: Option<DateTime<Utc>>,
    pub after_id: Option<Uuid>,
    dry_total: Option<i64>,
    dry_done: Option<i64>,
    dry_results: Option<Value>,
    moved_at: DateTime<Utc>,
    is_worked_on: bool,
    trouble: Option<String>,
}

/// The columns of a [`JobRow`].
macro_rules! job_columns {
    () => {
        "tenant_id, replay_id, stage, status, selection, search, until_at, created_at, created_by, started_at, started_by, \
         ended_at, total, done, results, after_at, after_id, dry_total, dry_done, dry_results, moved_at, \
         status = 'RUNNING' AND coalesce(lease_until > now(), false) AS is_worked_on, trouble"
    };
}
pub(super) use job_columns;

// === impl ReplayStage ===

impl ReplayStage {
    /// Its name in rows, commands and the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::DryRun => "DRY_RUN",
            Self::Replay => "REPLAY",
        }
    }
}

// === impl ReplayStatus ===

impl ReplayStatus {
    /// Its name in rows, commands and the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Done => "DONE",
        }
    }
}

// === impl StageTally ===

impl StageTally {
    /// Adds a message with this result.
    pub fn add(&mut self, result: &str, reason: Option<&str>, example: Uuid) {
        self.done += 1;
        let known = self
            .results
            .iter_mut()
            .find(|row| row.result == result && row.reason.as_deref() == reason);
        match known {
            Some(row) => row.count += 1,
            None => self.results.push(ResultCount {
                result: result.to_owned(),
                reason: reason.map(str::to_owned),
                count: 1,
                example,
            }),
        }
    }

    pub(super) fn read(total: Option<i64>, done: i64, results: Value) -> Self {
        Self {
            total: total.map(i64::unsigned_abs),
            done: done.unsigned_abs(),
            results: serde_json::from_value(results).unwrap_or_default(),
        }
    }
}

// === impl JobRow ===

impl JobRow {
    pub fn stage(&self) -> ReplayStage {
        if self.stage == "REPLAY" { ReplayStage::Replay } else { ReplayStage::DryRun }
    }

    pub fn status(&self) -> ReplayStatus {
        match self.status.as_str() {
            "RUNNING" => ReplayStatus::Running,
            "STOPPED" => ReplayStatus::Stopped,
            _ => ReplayStatus::Done,
        }
    }
}

impl From<JobRow> for ReplayJob {
    fn from(row: JobRow) -> Self {
        let dry_run = row.dry_results.clone().map(|results| {
            StageTally::read(row.dry_total, row.dry_done.unwrap_or_default(), results)
        });
        Self {
            id: row.replay_id,
            stage: row.stage(),
            status: row.status(),
            tenant: Some(row.tenant_id).filter(|tenant| tenant != ALL_TENANTS),
            search: row.search,
            until: row.until_at,
            created_at: row.created_at,
            created_by: row.created_by,
            started_at: row.started_at,
            started_by: row.started_by,
            ended_at: row.ended_at,
            moved_at: row.moved_at,
            is_worked_on: row.is_worked_on,
            trouble: row.trouble,
            tally: StageTally::read(row.total, row.done, row.results),
            dry_run,
        }
    }
}
