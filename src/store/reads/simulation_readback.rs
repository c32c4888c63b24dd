//! Reads the tables back after a simulation: which numbers are there, how often, and what was refused for which reason.
//!
//! It only reads, on a connection of its own without a time limit: millions of rows are sorted for the answer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::error::StoreError;

/// The most ranges that are read; a table more torn than that is described well enough by its beginning.
const RANGES_MAX: i64 = 10_000;

/// Neighbouring numbers that are there equally often make one range.
const RANGES: &str = "WITH found AS (SELECT seq, count(*) AS copies FROM telemetry \
        WHERE tenant_id = ANY($1) AND time >= $2 AND seq BETWEEN $3 AND $4 GROUP BY seq), \
    numbered AS (SELECT seq, copies, seq - row_number() OVER (PARTITION BY copies ORDER BY seq) AS island FROM found) \
    SELECT min(seq), max(seq), copies FROM numbered GROUP BY copies, island ORDER BY min(seq) LIMIT $5";

const REFUSALS: &str = "SELECT reason, sum(cnt)::bigint FROM quarantine_counters_minute \
    WHERE tenant_id = ANY($1) OR tenant_id = '' GROUP BY reason";

/// A connection for reading back.
#[derive(Debug)]
pub struct Readback {
    connection: PgConnection,
}

/// Numbers from the first to the last, each of them in so many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberRange {
    /// The first.
    #[sqlx(rename = "min")]
    pub first: i64,
    /// The last.
    #[sqlx(rename = "max")]
    pub last: i64,
    /// Rows of each.
    pub copies: i64,
}

// === impl Readback ===

impl Readback {
    /// Connects.
    pub async fn open(database: &Database) -> Result<Self, Outage> {
        let connected = database.unbounded_options().connect().await;
        Ok(Self { connection: connected.map_err(outage)? })
    }

    /// Which of these numbers are in `telemetry`, for these tenants and not before this moment; in order.
    pub async fn ranges(
        &mut self,
        tenants: &[String],
        since: DateTime<Utc>,
        numbers: RangeInclusive<i64>,
    ) -> Result<Vec<NumberRange>, Outage> {
        let asked = sqlx::query_as(RANGES).bind(tenants).bind(since).bind(numbers.start()).bind(numbers.end());
        asked.bind(RANGES_MAX).fetch_all(&mut self.connection).await.map_err(outage)
    }

    /// How many messages of these tenants, or of none, were ever refused for each reason.
    pub async fn refusals(&mut self, tenants: &[String]) -> Result<BTreeMap<String, i64>, Outage> {
        let asked = sqlx::query_as(REFUSALS).bind(tenants).fetch_all(&mut self.connection).await;
        let rows: Vec<(String, i64)> = asked.map_err(outage)?;
        Ok(rows.into_iter().collect())
    }

    /// Says goodbye; what goes wrong then harms nobody.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the connection to Postgres did not close cleanly");
        }
    }
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
