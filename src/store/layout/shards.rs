//! Which node of Citus has which rows of telemetry.
//!
//! It moves nothing. Where telemetry is not distributed it asks nothing.

use crate::domain::ports::Outage;
use crate::domain::shard::Shard;
use crate::store::connection::database::Database;
use crate::store::connection::engine::TelemetryLayout;
use crate::store::error::StoreError;

/// One row for each shard: its first hash, and the group of the node that has it.
const SHARDS: &str = "SELECT s.shardminvalue::int, p.groupid FROM pg_dist_shard s \
    JOIN pg_dist_placement p USING (shardid) WHERE s.logicalrelid = to_regclass('telemetry')";

/// Reads the shards of telemetry; none where it is not distributed.
pub(crate) async fn read(database: &Database) -> Result<Vec<Shard>, Outage> {
    if database.layout() != TelemetryLayout::Distributed {
        return Ok(Vec::new());
    }
    let rows: Result<Vec<(i32, i32)>, _> = sqlx::query_as(SHARDS).fetch_all(database.pool()).await;
    let rows = rows.map_err(StoreError::from)?;
    Ok(rows.into_iter().map(|(first_hash, node)| Shard { first_hash, node }).collect())
}
