//! The chunks of a hypertable: dropped when they are past the retention, moved into the columnstore
//! when they are old enough.
//!
//! It decides no retention: the caller gives the cutoff. It names the catalog of Timescale, so it is
//! called only where telemetry is a hypertable.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

/// Chunks that one round moves into the columnstore; the next round moves the rest.
const MOVES: i64 = 20;

/// How long a drop waits for the lock of a chunk, and how long it may take. Writers queue behind it.
const DROP_BOUNDS: &str = "SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = '5min'";

/// Upper bound of moving one chunk. Nothing writes into a chunk that old but late messages.
const MOVE_PATIENCE: Duration = Duration::from_mins(10);

const IS_HYPERTABLE: &str = "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables \
    WHERE to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass('telemetry'))";

/// Whether the catalog that the other statements name is there.
const HAS_CHUNKS: &str = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')";

const DUE: &str = "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks \
    WHERE to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass('telemetry') AND range_end <= $1 \
    ORDER BY range_end";

const DROP: &str = "SELECT drop_chunks('telemetry', older_than => $1)::text";

const MOVABLE: &str = "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks \
    WHERE to_regclass(format('%I.%I', hypertable_schema, hypertable_name)) = to_regclass('telemetry') \
        AND range_end <= $1 AND NOT is_compressed ORDER BY range_end LIMIT $2";

/// Whether telemetry is a hypertable.
pub(crate) async fn has_chunks(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let has_catalog: bool = sqlx::query_scalar(HAS_CHUNKS).fetch_one(&mut *connection).await?;
    if !has_catalog {
        return Ok(false);
    }
    sqlx::query_scalar(IS_HYPERTABLE).fetch_one(connection).await
}

/// The chunks that end before `cutoff`.
pub(crate) async fn due(
    connection: &mut PgConnection,
    cutoff: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(DUE).bind(cutoff).fetch_all(connection).await
}

/// Drops the chunks that end before `cutoff`; returns their names.
pub(crate) async fn drop_due(
    pool: &PgPool,
    cutoff: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql(DROP_BOUNDS).execute(&mut *transaction).await?;
    let dropped = sqlx::query_scalar(DROP).bind(cutoff).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(dropped)
}

/// Moves the chunks that end before `cutoff` into the columnstore; returns their names.
pub(crate) async fn move_to_columnstore(
    pool: &PgPool,
    cutoff: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    let chunks: Vec<String> =
        sqlx::query_scalar(MOVABLE).bind(cutoff).bind(MOVES).fetch_all(pool).await?;
    if chunks.is_empty() {
        return Ok(chunks);
    }
    // The limit is for this connection only.
    let mut connection = pool.acquire().await?.detach();
    let patience = format!("SET statement_timeout = {}", MOVE_PATIENCE.as_millis());
    sqlx::raw_sql(AssertSqlSafe(patience)).execute(&mut connection).await?;
    for chunk in &chunks {
        let move_one = format!("CALL convert_to_columnstore('{chunk}'::regclass)");
        sqlx::raw_sql(AssertSqlSafe(move_one)).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(chunks)
}
