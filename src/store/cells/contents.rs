//! The rows of the replicated tables: how many there are, and whether those of two databases are equal.
//!
//! It reads whole tables, so only `join` and `status` call it. `cells` is left out: it changes all the
//! time.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::timeout;

use super::REPLICATED;
use super::registry_link::RegistryLink;
use crate::domain::ports::Outage;
use crate::store::error::StoreError;

/// Upper bound for reading one table: ten million rows take about a minute.
pub(super) const READ_PATIENCE: Duration = Duration::from_mins(20);

/// One table of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContent {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: i64,
    /// A sum over the hashes of its rows; empty when only the rows were counted.
    pub digest: String,
}

// === impl RegistryLink ===

impl RegistryLink {
    /// Counts the rows of each table in `schema`.
    pub async fn count(&mut self, schema: &str) -> Result<Vec<TableContent>, Outage> {
        read(&mut self.session.connection, schema, "''").await
    }

    /// Counts the rows of each table in `schema` and hashes them. Equal rows have equal sums, in any
    /// order.
    pub async fn digest(&mut self, schema: &str) -> Result<Vec<TableContent>, Outage> {
        let sum = "coalesce(sum(hashtextextended(t::text, 0)), 0)::text";
        read(&mut self.session.connection, schema, sum).await
    }
}

/// Whether no table has a row.
pub fn is_empty(contents: &[TableContent]) -> bool {
    contents.iter().all(|content| content.rows == 0)
}

/// Names the first table that differs.
pub fn first_difference(own: &[TableContent], other: &[TableContent]) -> Option<String> {
    let (own, other) = own.iter().zip(other).find(|(own, other)| own != other)?;
    Some(format!("{} ({} rows here, {} there)", own.table, own.rows, other.rows))
}

// --- private helpers ---

async fn read(
    connection: &mut PgConnection,
    schema: &str,
    digest: &'static str,
) -> Result<Vec<TableContent>, Outage> {
    let mut contents = Vec::new();
    let schema = schema.replace('"', "\"\"");
    for table in REPLICATED.into_iter().filter(|table| *table != "cells") {
        let statement = format!("SELECT count(*), {digest} FROM \"{schema}\".{table} t");
        let query = sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&mut *connection);
        let late = |_| Outage(format!("table {table} was not read within 20 minutes"));
        let read = timeout(READ_PATIENCE, query).await.map_err(late)?;
        let (rows, digest) = read.map_err(StoreError::from)?;
        contents.push(TableContent { table, rows, digest });
    }
    Ok(contents)
}
