//! `sluice migrate`: brings the schema up to date, makes the partitions, and says what it did.

use serde::Serialize;

use super::output::{self, Output};
use super::{Exit, Failure};
use crate::clock;
use crate::config::Config;
use crate::store::migrate::SchemaError;
use crate::store::retention::Retention;
use crate::store::{clocks, partitions};

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    applied: Vec<i64>,
    partitions_made: Vec<String>,
}

/// Applies what is pending.
pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let database = super::open_database(config)?;
    let applied = database.migrate().await.map_err(|error| match error {
        SchemaError::Outage(_) => Failure::unavailable(error.to_string()),
        error => Failure::new(Exit::Config, error.to_string()),
    })?;
    // What is old is the daemon's to drop, with its settings at hand; here nothing is deleted.
    let pool = database.pool();
    let made =
        async { partitions::maintain(pool, Retention::default(), clocks::read_once(pool, clock::now).await?).await };
    let report = made.await.map_err(|outage| Failure::unavailable(outage.to_string()))?;
    let done = Done { applied, partitions_made: report.made };
    let applied =
        if done.applied.is_empty() { "none, the schema is up to date".into() } else { format!("{:?}", done.applied) };
    output::fields(
        output,
        &done,
        &[("migrations applied", applied), ("partitions made", done.partitions_made.join(", "))],
    )?;
    Ok(Exit::Done)
}
