//! Creates the partitions of coming days, and drops those past the retention.
//!
//! A day's partition is named `<table>_<yyyymmdd>` and spans that day in UTC. It never touches
//! partitions with other names, nor tables without partitions. It never makes ingest wait longer
//! than [`LOCK_PATIENCE`]. Rows that arrived before their partition do not prevent its creation.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::day_tables::{DAYS_AHEAD, Layout, Table, layout, midnight};
use super::partition_report::PartitionReport;
use super::retention::{self, Retention};
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::store::connection::clocks;
use crate::store::error::StoreError;
use crate::telemetry::store::StoreMetrics;

/// How long a step waits for a table lock. Writers queue behind that wait, so it is short.
pub const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Attempts of a step per round when the lock is not available, for example because of a
/// dashboard's query.
const LOCK_TRIES: u32 = 5;

/// Pause between two attempts, for the writers that queued behind the last one.
const LOCK_PAUSE: Duration = Duration::from_millis(300);

/// Rows per DELETE, so that it holds no lock for long.
const EXPIRY_CHUNK: i64 = 10_000;

/// DELETE statements per round and table; the next round deletes the rest.
const EXPIRY_CHUNKS: u32 = 50;

/// Pause between two rounds.
const EVERY: Duration = Duration::from_hours(1);

/// Pause after a round with failures.
const AFTER_TROUBLE: Duration = Duration::from_mins(1);

/// Upper bound of a round; beyond it the connection counts as dead and the next round starts.
const ROUND_PATIENCE: Duration = Duration::from_mins(30);

/// The advisory lock that lets one replica at a time change partitions.
const ADVISORY_KEY: i64 = 0x736c_7569_6365_0001;

/// The component of readiness that this module reports.
const COMPONENT: &str = "partitions";

/// The component that reports why nothing is deleted.
const RETENTION: &str = "retention";

/// One change of a table's partitions.
#[derive(Clone, Copy, Debug)]
enum PartitionStep {
    Make(NaiveDate),
    Drop(NaiveDate),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepOutcome {
    /// It succeeded, or failed for a reason of its own.
    Done,
    /// Another session locks the table: further steps would only make writers wait.
    LockTimeout,
}

/// Runs [`maintain`] at the start and every hour until `stop`. The default partition takes all
/// rows, so a failure makes the daemon unready only when the partition of today or tomorrow is
/// missing.
pub async fn keep(
    pool: PgPool,
    retention: Retention,
    metrics: StoreMetrics,
    readiness: Readiness,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut held = None;
    loop {
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = timeout(ROUND_PATIENCE, read_and_maintain(&pool, retention, clock)) => round,
        };
        let pause = match round
            .unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into())))
        {
            Ok(report) => {
                let pause = report_round(&report, &metrics, &readiness);
                report_held(report.held.as_deref(), &mut held, &metrics, &readiness)
                    .map_or(pause, |soon| soon.min(pause))
            }
            Err(error) => {
                tracing::warn!(reason = %error, "the partitions could not be looked at; trying again in a minute");
                AFTER_TROUBLE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Creates the partitions of yesterday, today and the next [`DAYS_AHEAD`] days, by either clock.
/// Unless [`retention`] forbids it, drops partitions past the retention and deletes such rows in
/// the default partitions and the counters. Replicas may call it at the same time.
pub async fn maintain(
    pool: &PgPool,
    retention: Retention,
    clocks: Clocks,
) -> Result<PartitionReport, Outage> {
    round(pool, retention, clocks).await.map_err(|error| StoreError::from(error).into())
}

// === private helpers ===

async fn read_and_maintain(
    pool: &PgPool,
    retention: Retention,
    clock: Clock,
) -> Result<PartitionReport, Outage> {
    maintain(pool, retention, clocks::read_once(pool, clock).await?).await
}

async fn round(
    pool: &PgPool,
    retention: Retention,
    clocks: Clocks,
) -> Result<PartitionReport, sqlx::Error> {
    let prospect = retention::before_round(&mut *pool.acquire().await?, retention, clocks).await?;
    let days = [clocks.own, clocks.database].map(|now| now.to_utc().date_naive());
    let mut report = PartitionReport::default();
    for table in [retention.telemetry(), retention.quarantine()] {
        let Some(layout) = layout(&mut *pool.acquire().await?, table).await? else { continue };
        let cutoff = table.cutoff(prospect.day).filter(|_| prospect.held.is_none());
        for step in steps(&layout, &days, cutoff) {
            if run_step(pool, table, step, &mut report).await? == StepOutcome::LockTimeout {
                break;
            }
        }
        if let (Some(cutoff), Some(late)) = (cutoff, &layout.late) {
            report.expired += expire(pool, late, table.column, cutoff).await?;
        }
        verify(pool, table, days[0], &mut report).await?;
    }
    let counters = retention.counters();
    match counters.cutoff(prospect.day) {
        Some(cutoff) if prospect.held.is_none() => {
            report.expired += expire(pool, counters.name, counters.column, cutoff).await?;
        }
        _ => {}
    }
    if prospect.held.is_none() && retention.deletes() {
        retention::after_round(&mut *pool.acquire().await?, prospect.day).await?;
    }
    report.held = prospect.held;
    Ok(report)
}

/// Reports in readiness, and logs the begin and end. Returns the pause until the next round; `None`
/// means no change.
fn report_held(
    why: Option<&str>,
    logged: &mut Option<String>,
    metrics: &StoreMetrics,
    readiness: &Readiness,
) -> Option<Duration> {
    metrics.retention_held.set(i64::from(why.is_some()));
    let Some(why) = why else {
        readiness.well(RETENTION);
        if logged.take().is_some() {
            tracing::info!("what is past its retention is deleted again");
        }
        return None;
    };
    readiness.unwell(RETENTION, why);
    if logged.replace(why.to_owned()).is_none() {
        tracing::error!("{why}");
    }
    Some(AFTER_TROUBLE)
}

fn report_round(
    report: &PartitionReport,
    metrics: &StoreMetrics,
    readiness: &Readiness,
) -> Duration {
    metrics.partitions_ahead.set(report.ahead);
    if report.missing.is_empty() {
        readiness.well(COMPONENT);
    } else {
        let why = report.failed.first().map_or("nothing was said why", String::as_str);
        readiness.unwell(COMPONENT, format!("{} cannot be made: {why}", report.missing.join(", ")));
    }
    if !(report.made.is_empty() && report.dropped.is_empty() && report.expired == 0) {
        tracing::info!(made = ?report.made, moved_rows = report.moved, dropped = ?report.dropped,
            expired_rows = report.expired, "the partitions are in order");
    }
    if report.failed.is_empty() {
        return EVERY;
    }
    tracing::warn!(failed = ?report.failed, "not all partitions are in order; trying again in a minute");
    AFTER_TROUBLE
}

fn wanted_days(today: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    today
        .pred_opt()
        .into_iter()
        .chain(today.iter_days().take(1 + usize::try_from(DAYS_AHEAD).unwrap_or(0)))
}

/// Plans the steps of a table. `cutoff` of `None` drops nothing.
fn steps(layout: &Layout, days: &[NaiveDate], cutoff: Option<NaiveDate>) -> Vec<PartitionStep> {
    let kept = |day: &NaiveDate| cutoff.is_none_or(|cutoff| *day >= cutoff);
    let wanted: BTreeSet<NaiveDate> = days.iter().copied().flat_map(wanted_days).collect();
    let create = wanted
        .into_iter()
        .filter(|day| kept(day) && !layout.days.contains(day))
        .map(PartitionStep::Make);
    let drop = layout.days.iter().filter(|day| !kept(day)).copied().map(PartitionStep::Drop);
    create.chain(drop).collect()
}

/// Runs one step in its own transaction, and retries while a lock is not available. An error of the
/// database goes into the report, so that it does not stop the other days.
async fn run_step(
    pool: &PgPool,
    table: Table,
    step: PartitionStep,
    report: &mut PartitionReport,
) -> Result<StepOutcome, sqlx::Error> {
    let (PartitionStep::Make(day) | PartitionStep::Drop(day)) = step;
    let mut tries = 0;
    loop {
        tries += 1;
        let done = match step {
            PartitionStep::Make(day) => create_day(pool, table, day).await,
            PartitionStep::Drop(day) => {
                drop_day(pool, table, day).await.map(|done| done.then_some(0))
            }
        };
        match (done, step) {
            (Ok(None), _) => {}
            (Ok(Some(moved)), PartitionStep::Make(_)) => {
                report.made.push(table.partition(day));
                report.moved += moved;
            }
            (Ok(Some(_)), PartitionStep::Drop(_)) => report.dropped.push(table.partition(day)),
            (Err(error), _) if is_busy(&error) && tries < LOCK_TRIES => {
                tokio::time::sleep(LOCK_PAUSE).await;
                continue;
            }
            (Err(sqlx::Error::Database(error)), _) => {
                report.failed.push(format!("{}: {error}", table.partition(day)));
                if is_busy(&sqlx::Error::Database(error)) {
                    return Ok(StepOutcome::LockTimeout);
                }
            }
            (Err(error), _) => return Err(error),
        }
        return Ok(StepOutcome::Done);
    }
}

/// Creates a day's partition beside the table, moves early rows into it, and attaches it. Returns
/// the number of moved rows; `None` means the partition exists.
async fn create_day(
    pool: &PgPool,
    table: Table,
    day: NaiveDate,
) -> Result<Option<u64>, sqlx::Error> {
    let Some(next) = day.succ_opt() else { return Ok(None) };
    let mut tx = begin(pool).await?;
    let layout = layout(&mut tx, table).await?.unwrap_or_default();
    if layout.days.contains(&day) {
        return Ok(None);
    }
    let (parent, column, partition) = (table.name, table.column, table.partition(day));
    // Writers must wait at the parent, before they choose a partition. One that waited at the
    // default partition would fail there once the day has its own partition.
    execute(&mut tx, format!("LOCK TABLE ONLY {parent} IN SHARE ROW EXCLUSIVE MODE")).await?;
    execute(&mut tx, format!("CREATE TABLE {partition} (LIKE {parent} INCLUDING ALL)")).await?;
    let mut moved = 0;
    if let Some(late) = layout.late {
        execute(&mut tx, format!("LOCK TABLE {late} IN ACCESS EXCLUSIVE MODE")).await?;
        moved = sqlx::query(AssertSqlSafe(format!(
            "WITH early AS (DELETE FROM {late} WHERE {column} >= $1 AND {column} < $2 RETURNING *)
             INSERT INTO {partition} SELECT * FROM early"
        )))
        .bind(midnight(day))
        .bind(midnight(next))
        .execute(&mut *tx)
        .await?
        .rows_affected();
    }
    execute(
        &mut tx,
        format!(
            "ALTER TABLE {parent} ATTACH PARTITION {partition}
             FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
        ),
    )
    .await?;
    tx.commit().await?;
    Ok(Some(moved))
}

/// Drops a day's partition. DETACH CONCURRENTLY would lock less, but Postgres refuses it beside a
/// default partition.
async fn drop_day(pool: &PgPool, table: Table, day: NaiveDate) -> Result<bool, sqlx::Error> {
    let mut tx = begin(pool).await?;
    if !layout(&mut tx, table).await?.unwrap_or_default().days.contains(&day) {
        return Ok(false);
    }
    execute(&mut tx, format!("DROP TABLE {}", table.partition(day))).await?;
    tx.commit().await?;
    Ok(true)
}

/// Begins a transaction that holds the advisory lock and waits only [`LOCK_PATIENCE`] for any
/// other.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    execute(
        &mut tx,
        "SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '5min'".to_owned(),
    )
    .await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ADVISORY_KEY).execute(&mut *tx).await?;
    execute(&mut tx, format!("SET LOCAL lock_timeout = '{}ms'", LOCK_PATIENCE.as_millis())).await?;
    Ok(tx)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}

/// Reads the partitions again: which required ones are missing, and how far ahead telemetry is.
async fn verify(
    pool: &PgPool,
    table: Table,
    today: NaiveDate,
    report: &mut PartitionReport,
) -> Result<(), sqlx::Error> {
    let days = layout(&mut *pool.acquire().await?, table).await?.unwrap_or_default().days;
    let needed = today.iter_days().take(2).filter(|day| !days.contains(day));
    report.missing.extend(needed.map(|day| table.partition(day)));
    if table.name == "telemetry" {
        let ahead = today.iter_days().skip(1).take_while(|day| days.contains(day)).count();
        report.ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
    }
    Ok(())
}

/// Deletes rows before `cutoff` in bounded chunks; returns their number.
async fn expire(
    pool: &PgPool,
    table: &str,
    column: &str,
    cutoff: NaiveDate,
) -> Result<u64, sqlx::Error> {
    let statement = format!(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE {column} < $1 LIMIT {EXPIRY_CHUNK}))"
    );
    let mut expired = 0;
    for _ in 0..EXPIRY_CHUNKS {
        let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(midnight(cutoff));
        let rows = query.execute(pool).await?.rows_affected();
        expired += rows;
        if rows < EXPIRY_CHUNK.unsigned_abs() {
            return Ok(expired);
        }
    }
    tracing::warn!(
        table,
        expired,
        "more rows are past their retention than one round deletes; the next goes on with it"
    );
    Ok(expired)
}

/// Whether the error is a lock timeout or a deadlock.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_older_than_the_retention_is_dropped_and_never_created() {
        let days = [day("2026-11-18"), day("2026-11-19"), day("2026-11-21")].into();
        let cutoff = Some(day("2026-11-19"));
        let steps =
            steps(&Layout { days, late: None }, &[day("2026-11-21"), day("2026-11-21")], cutoff);
        let made = steps.iter().filter(|step| matches!(step, PartitionStep::Make(_))).count();
        assert_eq!(made, 4, "yesterday and three days ahead: {steps:?}");
        let dropped: Vec<_> =
            steps.iter().filter(|step| matches!(step, PartitionStep::Drop(_))).collect();
        assert!(
            matches!(dropped[..], [PartitionStep::Drop(gone)] if *gone == day("2026-11-18")),
            "{dropped:?}"
        );
    }
}
