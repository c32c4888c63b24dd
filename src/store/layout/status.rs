//! What `sluice store status` shows: the engine, the layout of telemetry, its size, its nodes or chunks.
//!
//! It changes nothing.

use serde::Serialize;
use sqlx::PgConnection;

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::engine::{StoreEngine, TelemetryLayout};
use crate::store::error::StoreError;
use crate::store::schema::open_readers;

const PARTITIONS: &str = "SELECT count(*), coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint \
    FROM pg_inherits WHERE inhparent = to_regclass('telemetry')";

/// The size of the parent alone is 0.
const SHARDS: &str = "SELECT (SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = to_regclass('telemetry')), \
    (SELECT count(*) FROM pg_dist_node WHERE isactive AND shouldhaveshards AND noderole = 'primary'), \
    (SELECT coalesce(sum(citus_total_relation_size(inhrelid)), 0)::bigint FROM pg_inherits \
        WHERE inhparent = to_regclass('telemetry'))";

const CHUNKS: &str = "SELECT count(*), count(*) FILTER (WHERE is_compressed), hypertable_size('telemetry') \
    FROM timescaledb_information.chunks \
    WHERE to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass('telemetry')";

/// Where telemetry lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StoreStatus {
    /// plain, citus or timescale.
    pub engine: &'static str,
    /// The version of the extension, or of Postgres.
    pub version: String,
    /// partitioned, distributed, hypertable or columnstore.
    pub layout: &'static str,
    /// Partitions by day, or chunks.
    pub parts: i64,
    /// Chunks in the columnstore.
    pub in_columnstore: i64,
    /// Parts that Citus spreads the rows over.
    pub shards: i64,
    /// Nodes that have rows.
    pub nodes: i64,
    /// Size with indexes, in bytes.
    pub bytes: i64,
    /// Roles that read the rows of all tenants, because no row-level security holds for them.
    pub open_to: Vec<String>,
}

/// Reads it.
pub(crate) async fn read(database: &Database) -> Result<StoreStatus, Outage> {
    let engine = database.read_engine().await?;
    let layout = engine.layout;
    let read = async {
        let mut connection = database.pool().acquire().await?;
        measured(&mut connection, engine).await
    };
    let mut status = read.await.map_err(|error| Outage::from(StoreError::from(error)))?;
    let readers = open_readers::read(database.pool(), layout).await?;
    status.open_to = readers.into_iter().map(|reader| reader.name).collect();
    Ok(status)
}

async fn measured(
    connection: &mut PgConnection,
    engine: StoreEngine,
) -> Result<StoreStatus, sqlx::Error> {
    let (parts, bytes): (i64, i64) = sqlx::query_as(PARTITIONS).fetch_one(&mut *connection).await?;
    let mut status = StoreStatus {
        engine: engine.kind.label(),
        version: engine.version,
        layout: engine.layout.label(),
        parts,
        in_columnstore: 0,
        shards: 0,
        nodes: 1,
        bytes,
        open_to: Vec::new(),
    };
    match engine.layout {
        TelemetryLayout::Partitioned => {}
        TelemetryLayout::Distributed => {
            (status.shards, status.nodes, status.bytes) =
                sqlx::query_as(SHARDS).fetch_one(connection).await?;
        }
        TelemetryLayout::Hypertable | TelemetryLayout::Columnstore => {
            (status.parts, status.in_columnstore, status.bytes) =
                sqlx::query_as(CHUNKS).fetch_one(connection).await?;
        }
    }
    Ok(status)
}
