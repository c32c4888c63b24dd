//! The jobs that replay the quarantine: order, find, list, start, stop.
//!
//! A job begins as a dry run of a filter with an upper time. Its replay has the same filter and the
//! same upper time. Of a tenant at most one job runs; a job over all tenants runs alone. It judges no
//! message.

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use super::filter::QuarantineFilter;
use super::replay_job::{ALL_TENANTS, JobRow, ReplayJob, ReplayStage, ReplayStatus, job_columns};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::registry::audit::{self, Actor, Entry};

/// The lock under which jobs begin to run, so that of two that exclude each other one is refused.
const LOCK: i64 = 0x5175_6172_616e_7469;

/// How long an ended job is kept, in days.
const KEPT_DAYS: i32 = 90;

/// A job to order.
#[derive(Clone, Copy, Debug)]
pub struct NewReplay<'a> {
    /// Which messages; its tenant is the job's.
    pub filter: &'a QuarantineFilter,
    /// The filter as a search for people.
    pub search: &'a str,
}

/// Why a job was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayJobError {
    /// It does not exist.
    Unknown(Uuid),
    /// This job runs, and excludes the other.
    Busy(Uuid),
    /// Its replay is done.
    Done(Uuid),
    /// It does not run.
    NotRunning(Uuid),
    /// The database did not answer.
    Outage(Outage),
}

/// A job that excludes one of tenant `$1`.
const RUNNING: &str = "SELECT replay_id FROM quarantine_replays \
    WHERE status = 'RUNNING' AND (tenant_id = $1 OR tenant_id = '' OR $1 = '') LIMIT 1";

const FORGET: &str = "DELETE FROM quarantine_replays \
    WHERE status <> 'RUNNING' AND created_at < now() - make_interval(days => $1)";

const CREATE: &str = concat!(
    "INSERT INTO quarantine_replays (tenant_id, replay_id, selection, search, until_at, created_by) \
     VALUES ($1, $2, $3, $4, least($5, now()), $6) RETURNING ",
    job_columns!()
);

const LOCK_ROW: &str =
    concat!("SELECT ", job_columns!(), " FROM quarantine_replays WHERE replay_id = $1 FOR UPDATE");

/// The dry run becomes the replay: the counts of the dry run are kept beside those of the replay.
const BEGIN_REPLAY: &str = concat!(
    "UPDATE quarantine_replays SET stage = 'REPLAY', status = 'RUNNING', started_at = now(), started_by = $2, \
         dry_total = total, dry_done = done, dry_results = results, total = NULL, done = 0, results = '[]', \
         after_at = NULL, after_id = NULL, worker = NULL, lease_until = NULL, ended_at = NULL, moved_at = now(), \
         trouble = NULL WHERE replay_id = $1 RETURNING ",
    job_columns!()
);

const CONTINUE: &str = concat!(
    "UPDATE quarantine_replays SET status = 'RUNNING', started_by = CASE stage WHEN 'REPLAY' THEN $2 END, ended_at = NULL, \
         worker = NULL, lease_until = NULL, moved_at = now(), trouble = NULL WHERE replay_id = $1 RETURNING ",
    job_columns!()
);

/// The worker stays: it still records the messages that it has in hand.
const STOP: &str = concat!(
    "UPDATE quarantine_replays SET status = 'STOPPED', ended_at = now() WHERE replay_id = $1 RETURNING ",
    job_columns!()
);

/// Orders a dry run, which a daemon will begin.
pub async fn create(
    pool: &PgPool,
    actor: &Actor,
    job: NewReplay<'_>,
) -> Result<ReplayJob, ReplayJobError> {
    let mut tx = pool.begin().await?;
    let tenant = job.filter.tenant.as_deref().unwrap_or(ALL_TENANTS);
    exclude_others(&mut tx, tenant).await?;
    sqlx::query(FORGET).bind(KEPT_DAYS).execute(&mut *tx).await?;
    let row: JobRow = sqlx::query_as(CREATE)
        .bind(tenant)
        .bind(Uuid::now_v7())
        .bind(job.filter.to_json())
        .bind(job.search)
        .bind(job.filter.until.map(Timestamp::to_utc))
        .bind(actor.as_str())
        .fetch_one(&mut *tx)
        .await?;
    note(&mut tx, actor, "quarantine.check", &row, job.filter.describe()).await?;
    tx.commit().await?;
    Ok(row.into())
}

/// Finds a job.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<ReplayJob>, Outage> {
    let mut query =
        QueryBuilder::new(concat!("SELECT ", job_columns!(), " FROM quarantine_replays"));
    query.push(" WHERE replay_id = ").push_bind(id);
    let row: Option<JobRow> =
        query.build_query_as().fetch_optional(pool).await.map_err(StoreError::from)?;
    Ok(row.map(ReplayJob::from))
}

/// Lists the jobs of a tenant, or all of them, the newest first.
pub async fn list(
    pool: &PgPool,
    tenant: Option<&str>,
    before: Option<QuarantineCursor>,
    limit: u32,
) -> Result<Vec<ReplayJob>, Outage> {
    let mut query =
        QueryBuilder::new(concat!("SELECT ", job_columns!(), " FROM quarantine_replays"));
    query.push(" WHERE true");
    if let Some(tenant) = tenant {
        query.push(" AND tenant_id = ").push_bind(tenant.to_owned());
    }
    if let Some(before) = before {
        query.push(" AND (created_at, replay_id) < (").push_bind(before.at.to_utc());
        query.push(", ").push_bind(before.id).push(")");
    }
    query.push(" ORDER BY created_at DESC, replay_id DESC LIMIT ").push_bind(i64::from(limit));
    let rows: Vec<JobRow> =
        query.build_query_as().fetch_all(pool).await.map_err(StoreError::from)?;
    Ok(rows.into_iter().map(ReplayJob::from).collect())
}

/// Begins the replay of what was dry-run, or continues a stopped job.
pub async fn start(pool: &PgPool, actor: &Actor, id: Uuid) -> Result<ReplayJob, ReplayJobError> {
    let mut tx = pool.begin().await?;
    let row = lock(&mut tx, id).await?;
    let statement = match (row.stage(), row.status()) {
        (_, ReplayStatus::Running) => return Err(ReplayJobError::Busy(id)),
        (ReplayStage::Replay, ReplayStatus::Done) => return Err(ReplayJobError::Done(id)),
        (ReplayStage::DryRun, ReplayStatus::Done) => BEGIN_REPLAY,
        (_, ReplayStatus::Stopped) => CONTINUE,
    };
    exclude_others(&mut tx, &row.tenant_id).await?;
    let row: JobRow =
        sqlx::query_as(statement).bind(id).bind(actor.as_str()).fetch_one(&mut *tx).await?;
    let detail = json!({ "search": row.search, "until": row.until_at, "stage": row.stage });
    note(&mut tx, actor, "quarantine.start", &row, detail).await?;
    tx.commit().await?;
    Ok(row.into())
}

/// Stops a running job. The daemon records the messages that it has in hand, and takes no further
/// ones.
pub async fn stop(pool: &PgPool, actor: &Actor, id: Uuid) -> Result<ReplayJob, ReplayJobError> {
    let mut tx = pool.begin().await?;
    if lock(&mut tx, id).await?.status() != ReplayStatus::Running {
        return Err(ReplayJobError::NotRunning(id));
    }
    let row: JobRow = sqlx::query_as(STOP).bind(id).fetch_one(&mut *tx).await?;
    let detail = json!({ "done": row.done, "total": row.total, "stage": row.stage });
    note(&mut tx, actor, "quarantine.stop", &row, detail).await?;
    tx.commit().await?;
    Ok(row.into())
}

// === impl ReplayJobError ===

impl From<sqlx::Error> for ReplayJobError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === private helpers ===

/// Refuses to run beside a job of the same messages.
async fn exclude_others(connection: &mut PgConnection, tenant: &str) -> Result<(), ReplayJobError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *connection).await?;
    let running: Option<Uuid> =
        sqlx::query_scalar(RUNNING).bind(tenant).fetch_optional(connection).await?;
    running.map_or(Ok(()), |id| Err(ReplayJobError::Busy(id)))
}

async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<JobRow, ReplayJobError> {
    let row: Option<JobRow> = sqlx::query_as(LOCK_ROW).bind(id).fetch_optional(connection).await?;
    row.ok_or(ReplayJobError::Unknown(id))
}

async fn note(
    connection: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    row: &JobRow,
    detail: Value,
) -> Result<(), sqlx::Error> {
    let tenant = Some(row.tenant_id.as_str()).filter(|tenant| *tenant != ALL_TENANTS);
    let detail = json!({ "replay": row.replay_id, "job": detail });
    audit::record(connection, Entry { actor, action, tenant, device: None, detail }).await
}
