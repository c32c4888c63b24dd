//! What the rows of a round say: when they were committed, and whether any is missing or doubled.

use serde_json::Value;

use crate::measure::Consumer;
use crate::stage::{Outcome, Stage};

/// The latency of every row, its flush included.
pub fn commit_latency(stage: &Stage) -> Outcome<Option<[f64; 4]>> {
    let (latency, fsync) = latency(stage)?;
    Ok(latency.map(|latency| latency.map(|quantile| quantile + fsync)))
}

/// From the time in the payload to the time of the row's commit, of every row: Postgres keeps the
/// latter by `track_commit_timestamp`. It reads that clock just before it flushes its log, so the
/// mean time of a flush is said too.
fn latency(stage: &Stage) -> Outcome<(Option<[f64; 4]>, f64)> {
    let mut database = stage.database()?;
    let rows = database.query(
        "SELECT unnest(percentile_disc(ARRAY[0.5, 0.99, 0.999, 1.0]) WITHIN GROUP \
         (ORDER BY 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - time)::float8)) FROM telemetry",
    )?;
    let quantiles: Vec<f64> =
        rows.into_iter().flatten().filter_map(|value| value.parse().ok()).collect();
    // Newer servers keep it elsewhere; then it is not added.
    let flush = database
        .value("SELECT wal_sync_time / greatest(wal_sync, 1) FROM pg_stat_wal")
        .unwrap_or_default();
    Ok((quantiles.try_into().ok(), flush.parse().unwrap_or(0.0)))
}

/// When the last row was committed, in microseconds since 1970: the same clock for every program
/// that wrote it.
pub fn last_commit(stage: &Stage) -> Outcome<f64> {
    let last = stage.database()?.value(
        "SELECT 1000000 * extract(epoch FROM greatest( \
             (SELECT max(pg_xact_commit_timestamp(xmin)) FROM telemetry), \
             (SELECT max(pg_xact_commit_timestamp(xmin)) FROM quarantine_events)))",
    )?;
    Ok(last.parse()?)
}

/// How many messages are missing or doubled.
pub fn wrong(stage: &Stage, consumer: Consumer, summary: &Value) -> Outcome<f64> {
    if matches!(consumer, Consumer::Drain) {
        return Ok(0.0);
    }
    let findings = stage.verify(summary)?;
    let count = |name: &str| findings[name].as_f64().unwrap_or(f64::NAN);
    let refusals = findings["quarantined"].as_object().into_iter().flatten();
    let misjudged: f64 = refusals
        .map(|(_, counts)| {
            (counts[0].as_f64().unwrap_or(0.0) - counts[1].as_f64().unwrap_or(0.0)).abs()
        })
        .sum();
    Ok(count("missing") + count("doubled") + misjudged)
}
