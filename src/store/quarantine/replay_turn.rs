//! One step of a replay job: a daemon takes a job for a moment, and records what it did with the
//! next messages.
//!
//! The marks of the messages and the progress of the job are one transaction. A daemon that lost its
//! job records nothing: another one continues from the last recorded step. It judges no message.

use std::time::Duration;

use serde_json::json;
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

use super::filter::QuarantineFilter;
use super::replay_job::{JobRow, ReplayStage, StageTally, job_columns};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::reads::quarantine::{self as events};
use crate::store::registry::audit::Actor;

/// How long a job belongs to the daemon that took it, without a further step.
const LEASE: Duration = Duration::from_secs(10);

/// A job without progress for so long is stalled.
const STALLED: Duration = Duration::from_mins(1);

/// Takes the job that waits longest: one of its own, or one that no daemon works on.
const CLAIM: &str = concat!(
    "UPDATE quarantine_replays SET worker = $1, lease_until = now() + $2 WHERE (tenant_id, replay_id) = ( \
         SELECT tenant_id, replay_id FROM quarantine_replays \
         WHERE status = 'RUNNING' AND (worker = $1 OR coalesce(lease_until < now(), true)) \
         ORDER BY lease_until NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING ",
    job_columns!()
);

/// A job that was stopped meanwhile keeps its status.
const RECORD: &str = "UPDATE quarantine_replays SET total = $3, done = $4, results = $5, after_at = $6, after_id = $7, \
        moved_at = now(), trouble = NULL, lease_until = now() + $8, \
        status = CASE WHEN $9 THEN 'DONE' ELSE status END, ended_at = CASE WHEN $9 THEN now() ELSE ended_at END \
    WHERE replay_id = $1 AND worker = $2 AND status <> 'DONE'";

const RELEASE: &str = "UPDATE quarantine_replays SET worker = NULL, lease_until = NULL \
    WHERE worker = $1 AND status = 'RUNNING'";

const STALLED_JOBS: &str = "SELECT count(*) FILTER (WHERE moved_at < now() - $1) FROM quarantine_replays \
    WHERE status = 'RUNNING'";

/// A job in the hands of a daemon.
#[derive(Clone, Debug)]
pub struct ReplayTurn {
    /// The job.
    pub id: Uuid,
    /// What it does.
    pub stage: ReplayStage,
    /// Which messages, with its upper time.
    pub filter: QuarantineFilter,
    /// Who ordered the stage.
    pub actor: Actor,
    /// The last message that was checked.
    pub after: Option<QuarantineCursor>,
    /// What it has found.
    pub tally: StageTally,
}

/// What a daemon did in a turn.
#[derive(Clone, Debug, Default)]
pub struct TurnOutcome {
    /// What the job has found, this turn included.
    pub tally: StageTally,
    /// The last message that was checked.
    pub after: Option<QuarantineCursor>,
    /// The messages to mark as replayed.
    pub accepted: Vec<QuarantineCursor>,
    /// The messages that were refused again.
    pub refused: Vec<QuarantineCursor>,
    /// Whether no further message is selected.
    pub is_last: bool,
}

/// Takes a job for this worker, if there is one to take.
pub async fn claim(pool: &PgPool, worker: Uuid) -> Result<Option<ReplayTurn>, Outage> {
    let row: Option<JobRow> = sqlx::query_as(CLAIM)
        .bind(worker)
        .bind(LEASE)
        .fetch_optional(pool)
        .await
        .map_err(StoreError::from)?;
    row.map(ReplayTurn::read).transpose()
}

/// Counts the messages of a filter.
pub async fn total(pool: &PgPool, filter: &QuarantineFilter) -> Result<u64, Outage> {
    Ok(events::count(pool, filter).await?.unsigned_abs())
}

/// Records a turn with its marks. False: another daemon has the job, and nothing was recorded.
pub async fn record(
    pool: &PgPool,
    worker: Uuid,
    turn: &ReplayTurn,
    outcome: &TurnOutcome,
    now: Timestamp,
) -> Result<bool, Outage> {
    let record = async {
        let mut tx = pool.begin().await?;
        events::mark_in(&mut tx, &turn.actor, &outcome.accepted, now).await?;
        events::note_attempts(&mut tx, &outcome.refused).await?;
        let tally = &outcome.tally;
        let recorded = sqlx::query(RECORD)
            .bind(turn.id)
            .bind(worker)
            .bind(tally.total.map(u64::cast_signed))
            .bind(tally.done.cast_signed())
            .bind(json!(tally.results))
            .bind(outcome.after.map(|place| place.at.to_utc()))
            .bind(outcome.after.map(|place| place.id))
            .bind(LEASE)
            .bind(outcome.is_last)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if recorded == 1 {
            tx.commit().await?;
        }
        Ok(recorded == 1)
    };
    record.await.map_err(|error: sqlx::Error| StoreError::from(error).into())
}

/// Notes why the turn failed, for people.
pub async fn note_trouble(pool: &PgPool, id: Uuid, why: &str) -> Result<(), Outage> {
    let mut query = QueryBuilder::new("UPDATE quarantine_replays SET trouble = ");
    query
        .push_bind(why.to_owned())
        .push(" WHERE status = 'RUNNING' AND replay_id = ")
        .push_bind(id);
    query.build().execute(pool).await.map(drop).map_err(|error| StoreError::from(error).into())
}

/// Gives the jobs of this worker back, so that another daemon continues at once.
pub async fn release(pool: &PgPool, worker: Uuid) -> Result<(), Outage> {
    let done = sqlx::query(RELEASE).bind(worker).execute(pool).await;
    done.map(drop).map_err(|error| StoreError::from(error).into())
}

/// The number of running jobs that make no progress.
pub async fn stalled(pool: &PgPool) -> Result<i64, Outage> {
    let query = sqlx::query_scalar(STALLED_JOBS).bind(STALLED);
    query.fetch_one(pool).await.map_err(|error| StoreError::from(error).into())
}

// === impl ReplayTurn ===

impl ReplayTurn {
    fn read(row: JobRow) -> Result<Self, Outage> {
        let stage = row.stage();
        let filter = QuarantineFilter::from_json(row.selection).ok_or_else(|| {
            Outage(format!(
                "another version of Sluice has ordered the replay {}; that version continues it",
                row.replay_id
            ))
        })?;
        let mut filter = QuarantineFilter { until: Some(row.until_at.into()), ..filter };
        if filter.ids.is_empty() && filter.replayed.is_none() {
            filter.replayed = Some(false);
        }
        let after = row.after_at.zip(row.after_id);
        let actor = row.started_by.as_deref().unwrap_or(&row.created_by);
        Ok(Self {
            id: row.replay_id,
            stage,
            filter,
            actor: Actor::new(actor),
            after: after.map(|(at, id)| QuarantineCursor { at: at.into(), id }),
            tally: StageTally::read(row.total, row.done, row.results),
        })
    }
}
