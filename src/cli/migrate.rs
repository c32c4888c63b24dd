//! `sluice migrate`: applies pending migrations, creates partitions, prints both. It deletes
//! nothing.

use serde::Serialize;

use crate::clock;
use crate::command::context;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{self, OutputFormat};
use crate::config::Config;
use crate::store::connection::clocks;
use crate::store::schema::migrate::SchemaError;
use crate::store::schema::partitions;
use crate::store::schema::retention::Retention;

/// The result of one run.
#[derive(Debug, Serialize)]
struct Done {
    applied: Vec<i64>,
    partitions_made: Vec<String>,
}

/// Applies pending migrations and creates missing partitions.
pub async fn run(config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let database = context::open_database(config)?;
    let applied = database.migrate().await.map_err(|error| match error {
        SchemaError::Outage(_) => Failure::unavailable(error.to_string()),
        error => Failure::new(Exit::Config, error.to_string()),
    })?;
    // Only the daemon drops old partitions; the default retention deletes nothing.
    let pool = database.pool();
    let made = async {
        partitions::maintain(pool, Retention::default(), clocks::read_once(pool, clock::now).await?)
            .await
    };
    let report = made.await.map_err(|outage| Failure::unavailable(outage.to_string()))?;
    let done = Done { applied, partitions_made: report.made };
    let applied = if done.applied.is_empty() {
        "none: the schema is up to date".into()
    } else {
        format!("{:?}", done.applied)
    };
    table::fields(
        output,
        &done,
        &[("migrations applied", applied), ("partitions created", done.partitions_made.join(", "))],
    )?;
    Ok(Exit::Done)
}
