//! Creates the partitions of coming days, and drops those past the retention.
//!
//! A day's partition is named `<table>_<yyyymmdd>` and spans that day in UTC. It never touches
//! partitions with other names, nor tables without partitions. [`super::partition_steps`] runs the
//! steps of a round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::day_tables::{DAYS_AHEAD, Table, layout, midnight};
use super::expiry::expire;
use super::partition_report::PartitionReport;
use super::partition_steps::{StepOutcome, run_step, steps};
use super::receipt_index;
use super::retention::{self, Retention};
use crate::domain::clocks::Clocks;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::store::certificates::ended;
use crate::store::connection::clocks;
use crate::store::error::StoreError;
use crate::store::layout::chunks;
use crate::telemetry::store::StoreMetrics;

/// Pause between two rounds.
const EVERY: Duration = Duration::from_hours(1);

/// Pause after a round with failures.
const AFTER_TROUBLE: Duration = Duration::from_mins(1);

/// Upper bound of a round; beyond it the connection counts as dead and the next round starts.
const ROUND_PATIENCE: Duration = Duration::from_mins(30);

/// The component of readiness that this module reports.
const COMPONENT: &str = "partitions";

/// The component that reports why nothing is deleted.
const RETENTION: &str = "retention";

const CHECK_TEXTS: HealthTexts = HealthTexts {
    failed: "cannot check the partitions",
    action: "retrying in a minute",
    recovered: "Sluice can check the partitions again",
};

/// Runs [`maintain`] at the start, every hour, and when `due` is notified, until `stop`. The default
/// partition takes all rows, so a failure makes the daemon unready only when the partition of today or
/// tomorrow is missing.
pub async fn keep(
    pool: PgPool,
    retention: Retention,
    metrics: StoreMetrics,
    readiness: Readiness,
    clock: Clock,
    due: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut held = None;
    let mut checks = HealthReporter::log_only(COMPONENT, CHECK_TEXTS);
    loop {
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = timeout(ROUND_PATIENCE, read_and_maintain(&pool, retention, clock)) => round,
        };
        let pause =
            match round.unwrap_or_else(|_| Err(Outage("Postgres did not answer in time".into()))) {
                Ok(report) => {
                    checks.worked(Instant::now());
                    let pause = report_round(&report, &metrics, &readiness);
                    report_held(report.held.as_deref(), &mut held, &metrics, &readiness)
                        .map_or(pause, |soon| soon.min(pause))
                }
                Err(error) => {
                    checks.failed(&error.0, Instant::now());
                    AFTER_TROUBLE
                }
            };
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.notified() => {}
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
        let cutoff = table.cutoff(prospect.day).filter(|_| prospect.held.is_none());
        let kept = keep_days(pool, table, days, cutoff, &mut report).await;
        let is_partitioned = report.note(table.name, kept)?.unwrap_or(true);
        if table.name == "telemetry" && !is_partitioned {
            let columnstore = retention.columnstore(prospect.day);
            let kept = keep_chunks(pool, cutoff, columnstore, &mut report).await;
            report.note(table.name, kept)?;
        }
    }
    for table in [
        retention.counters(),
        retention.hourly_counters(),
        retention.dead_letters(),
        retention.commands(),
        Retention::event_ids(),
    ] {
        match table.cutoff(prospect.day) {
            Some(cutoff) if prospect.held.is_none() && clocks.agree() => {
                let expired = expire(pool, table.name, table.column, cutoff).await;
                let rows = report.note(table.name, expired)?.unwrap_or(0);
                // The hours are sums of the minutes, which are reported.
                let is_sum = table.name == retention.hourly_counters().name;
                report.expired += if is_sum { 0 } else { rows };
            }
            _ => {}
        }
    }
    let ended_before = retention.certificates(prospect.day);
    if let Some(cutoff) = ended_before.filter(|_| prospect.held.is_none() && clocks.agree()) {
        let ended = ended::purge(pool, midnight(cutoff)).await;
        report.certificates = report.note("device_certificates", ended)?.unwrap_or(0);
    }
    if prospect.held.is_none() && retention.deletes() {
        retention::after_round(&mut *pool.acquire().await?, prospect.day).await?;
    }
    report.held = prospect.held;
    Ok(report)
}

/// Creates and drops the partitions of one table, and deletes what is past `cutoff` in its default
/// partition. Returns whether it is partitioned.
async fn keep_days(
    pool: &PgPool,
    table: Table,
    days: [NaiveDate; 2],
    cutoff: Option<NaiveDate>,
    report: &mut PartitionReport,
) -> Result<bool, sqlx::Error> {
    let Some(layout) = layout(&mut *pool.acquire().await?, table).await? else { return Ok(false) };
    for step in steps(&layout, &days, cutoff) {
        if run_step(pool, table, step, report).await? == StepOutcome::LockTimeout {
            break;
        }
    }
    verify(pool, table, days[0], report).await?;
    if table.name == "telemetry" {
        report.indexed = receipt_index::complete(pool, table).await?;
    }
    if let (Some(cutoff), Some(late)) = (cutoff, &layout.late) {
        report.expired += expire(pool, late, table.column, cutoff).await?;
    }
    Ok(true)
}

/// The same for telemetry as a hypertable, which makes its chunks by itself. Moves chunks that end
/// before `columnstore` into the columnstore.
async fn keep_chunks(
    pool: &PgPool,
    cutoff: Option<NaiveDate>,
    columnstore: Option<NaiveDate>,
    report: &mut PartitionReport,
) -> Result<(), sqlx::Error> {
    if !chunks::has_chunks(&mut *pool.acquire().await?).await? {
        return Ok(());
    }
    report.ahead = i64::try_from(DAYS_AHEAD).unwrap_or(i64::MAX);
    if let Some(cutoff) = cutoff {
        report.dropped.extend(chunks::drop_due(pool, midnight(cutoff)).await?);
    }
    if let Some(before) = columnstore {
        report.compressed = chunks::move_to_columnstore(pool, midnight(before)).await?;
    }
    Ok(())
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
            tracing::info!("Sluice deletes rows past their retention again");
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
    metrics.certificates_deleted.inc_by(report.certificates);
    if report.certificates > 0 {
        tracing::info!(
            certificates = report.certificates,
            "deleted the rows of certificates that ended before CERTIFICATE_RETENTION_DAYS"
        );
    }
    if report.missing.is_empty() {
        readiness.well(COMPONENT);
    } else {
        let why = report.failed.first().map_or("the cause is unknown", String::as_str);
        readiness.unwell(
            COMPONENT,
            format!("cannot create the partitions {}: {why}", report.missing.join(", ")),
        );
    }
    if !(report.made.is_empty() && report.dropped.is_empty() && report.expired == 0) {
        tracing::info!(made = ?report.made, moved_rows = report.moved, dropped = ?report.dropped,
            expired_rows = report.expired, "created or dropped partitions");
    }
    if !report.compressed.is_empty() {
        tracing::info!(chunks = ?report.compressed, "moved chunks into the columnstore");
    }
    if !report.indexed.is_empty() {
        tracing::info!(partitions = ?report.indexed, "indexed partitions by the time of receipt, for links");
    }
    if report.failed.is_empty() {
        return EVERY;
    }
    tracing::warn!(failed = ?report.failed, "some partitions could not be created or dropped; \
        retrying in a minute");
    AFTER_TROUBLE
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
