//! One change of a table's partitions: creates or drops the partition of a day, in its own
//! transaction.
//!
//! It never makes ingest wait longer than [`LOCK_PATIENCE`]. Rows that arrived before their
//! partition do not prevent its creation. It decides no retention: the caller gives the cutoff.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use super::day_tables::{DAYS_AHEAD, Layout, Table, layout, midnight};
use super::partition_report::PartitionReport;

/// How long a step waits for a table lock. Writers queue behind that wait, so it is short.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Attempts of a step per round when the lock is not available, for example because of a
/// dashboard's query.
const LOCK_TRIES: u32 = 5;

/// Pause between two attempts, for the writers that queued behind the last one.
const LOCK_PAUSE: Duration = Duration::from_millis(300);

/// The advisory lock that lets one replica at a time change partitions.
const ADVISORY_KEY: i64 = 0x736c_7569_6365_0001;

/// One change of a table's partitions.
#[derive(Clone, Copy, Debug)]
pub(super) enum PartitionStep {
    Make(NaiveDate),
    Drop(NaiveDate),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// It succeeded, or failed for a reason of its own.
    Done,
    /// Another session locks the table: further steps would only make writers wait.
    LockTimeout,
}

/// Plans the steps of a table. `cutoff` of `None` drops nothing.
pub(super) fn steps(
    layout: &Layout,
    days: &[NaiveDate],
    cutoff: Option<NaiveDate>,
) -> Vec<PartitionStep> {
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
pub(super) async fn run_step(
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

// === private helpers ===

fn wanted_days(today: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    today
        .pred_opt()
        .into_iter()
        .chain(today.iter_days().take(1 + usize::try_from(DAYS_AHEAD).unwrap_or(0)))
}

/// Creates the partition of a day as a table, moves early rows into it, and attaches it. Returns
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

/// Drops a day's partition. DETACH CONCURRENTLY would lock less, but Postgres refuses it
/// for a table with a default partition.
async fn drop_day(pool: &PgPool, table: Table, day: NaiveDate) -> Result<bool, sqlx::Error> {
    let mut tx = begin(pool).await?;
    if !layout(&mut tx, table).await?.unwrap_or_default().days.contains(&day) {
        return Ok(false);
    }
    execute(&mut tx, format!("DROP TABLE {}", table.partition(day))).await?;
    tx.commit().await?;
    Ok(true)
}

/// Begins a transaction that has the advisory lock and waits only [`LOCK_PATIENCE`] for any
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
