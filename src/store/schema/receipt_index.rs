//! The index by the time of receipt on the partitions of telemetry that were made before there were
//! links. A gap of a link is read back by it ([`crate::store::links::gap`]).
//!
//! It is built beside the writers. One partition without it would be read as a whole in each step of a
//! refill, while batches wait. Without links it builds none.

use sqlx::{AssertSqlSafe, Connection, PgPool};

use super::day_tables::Table;

/// Whether there are links.
const HAS_LINKS: &str = "SELECT EXISTS (SELECT FROM link_state)";

/// The names of the partitions without the index, and of an index that was not finished.
const WITHOUT_INDEX: &str = "SELECT p.relname::text, to_regclass(p.relname || '_received')::text \
    FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid \
    WHERE inhparent = to_regclass($1) AND NOT EXISTS ( \
        SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam \
        WHERE i.indrelid = p.oid AND m.amname = 'brin' AND i.indisvalid) \
    ORDER BY p.relname";

/// Builds what is missing; returns the partitions.
pub(super) async fn complete(pool: &PgPool, table: Table) -> Result<Vec<String>, sqlx::Error> {
    if !sqlx::query_scalar(HAS_LINKS).fetch_one(pool).await? {
        return Ok(Vec::new());
    }
    let missing: Vec<(String, Option<String>)> =
        sqlx::query_as(WITHOUT_INDEX).bind(table.name).fetch_all(pool).await?;
    let mut built = Vec::new();
    for (partition, unfinished) in missing {
        // An index takes longer than a statement may; the limit is for this connection only.
        let mut connection = pool.acquire().await?.detach();
        sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
        if let Some(index) = unfinished {
            let drop = format!("DROP INDEX CONCURRENTLY {index}");
            sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
        }
        let create = format!(
            "CREATE INDEX CONCURRENTLY {partition}_received ON {partition} USING brin (received_at) \
             WITH (autosummarize = on)"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await?;
        connection.close().await?;
        built.push(partition);
    }
    Ok(built)
}
