//! Deletes the rows of a table that are past their retention, in bounded chunks.
//!
//! It decides no retention: the caller gives the cutoff. It drops no partition.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, PgPool};

use super::day_tables::midnight;

/// Rows per DELETE, so that no lock lasts long.
const CHUNK: i64 = 10_000;

/// DELETE statements per round and table; the next round deletes the rest.
const CHUNKS: u32 = 50;

/// Whether the table is spread over the nodes of Citus. The first statement works on every Postgres.
const HAS_NODES: &str = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL";
const IS_SPREAD: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition \
    WHERE logicalrelid = to_regclass($1) AND partmethod = 'h')";

/// Deletes rows before `cutoff`; returns their number.
pub(super) async fn expire(
    pool: &PgPool,
    table: &str,
    column: &str,
    cutoff: NaiveDate,
) -> Result<u64, sqlx::Error> {
    let is_spread = is_spread(pool, table).await?;
    let mut expired = 0;
    for _ in 0..CHUNKS {
        let (rows, is_last) = if is_spread {
            delete_until_a_row(pool, table, column, cutoff).await?
        } else {
            delete_by_place(pool, table, column, cutoff).await?
        };
        expired += rows;
        if is_last {
            return Ok(expired);
        }
    }
    tracing::warn!(
        table,
        expired,
        "more rows are past their retention than one round deletes; the next round deletes the rest"
    );
    Ok(expired)
}

// === private helpers ===

async fn is_spread(pool: &PgPool, table: &str) -> Result<bool, sqlx::Error> {
    let has_nodes: bool = sqlx::query_scalar(HAS_NODES).fetch_one(pool).await?;
    if !has_nodes {
        return Ok(false);
    }
    sqlx::query_scalar(IS_SPREAD).bind(table).fetch_one(pool).await
}

/// Deletes a chunk; returns its rows, and whether it was the last.
async fn delete_by_place(
    pool: &PgPool,
    table: &str,
    column: &str,
    cutoff: NaiveDate,
) -> Result<(u64, bool), sqlx::Error> {
    let statement = format!(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE {column} < $1 LIMIT {CHUNK}))"
    );
    let query = sqlx::query(AssertSqlSafe(statement)).bind(midnight(cutoff));
    let rows = query.execute(pool).await?.rows_affected();
    Ok((rows, rows < CHUNK.unsigned_abs()))
}

/// The same where the place of a row (ctid) is of one node only: a chunk ends at the time of a row.
/// Rows of one time are deleted together.
async fn delete_until_a_row(
    pool: &PgPool,
    table: &str,
    column: &str,
    cutoff: NaiveDate,
) -> Result<(u64, bool), sqlx::Error> {
    let nth = format!(
        "SELECT {column} FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT 1 OFFSET {CHUNK}"
    );
    let end: Option<DateTime<Utc>> =
        sqlx::query_scalar(AssertSqlSafe(nth)).bind(midnight(cutoff)).fetch_optional(pool).await?;
    let comparison = if end.is_some() { "<=" } else { "<" };
    let delete = format!("DELETE FROM {table} WHERE {column} {comparison} $1");
    let query = sqlx::query(AssertSqlSafe(delete)).bind(end.unwrap_or_else(|| midnight(cutoff)));
    Ok((query.execute(pool).await?.rows_affected(), end.is_none()))
}
