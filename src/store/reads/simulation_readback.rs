//! Reads the tables after a simulation: which sequence numbers are stored, how often, and the
//! refusals by reason.
//!
//! It only reads, on a connection without a time limit: the answer sorts millions of rows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::error::StoreError;

/// Upper bound of ranges read; the first ones describe a more fragmented table well enough.
const RANGES_MAX: i64 = 10_000;

/// Consecutive numbers with the same count form one range.
const RANGES: &str = "WITH found AS (SELECT seq, count(*) AS copies FROM telemetry \
        WHERE tenant_id = ANY($1) AND time >= $2 AND seq BETWEEN $3 AND $4 GROUP BY seq), \
    numbered AS (SELECT seq, copies, seq - row_number() OVER (PARTITION BY copies ORDER BY seq) AS island FROM found) \
    SELECT min(seq), max(seq), copies FROM numbered GROUP BY copies, island ORDER BY min(seq) LIMIT $5";

const REFUSALS: &str = "SELECT reason, sum(cnt)::bigint FROM quarantine_counters_minute \
    WHERE tenant_id = ANY($1) OR tenant_id = '' GROUP BY reason";

/// The connection of a read-back.
#[derive(Debug)]
pub struct Readback {
    connection: PgConnection,
}

/// Consecutive numbers, each stored in the same number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberRange {
    /// The first.
    #[sqlx(rename = "min")]
    pub first: i64,
    /// The last.
    #[sqlx(rename = "max")]
    pub last: i64,
    /// Rows per number.
    pub copies: i64,
}

// === impl Readback ===

impl Readback {
    /// Connects.
    pub async fn open(database: &Database) -> Result<Self, Outage> {
        let connected = database.unbounded_options().connect().await;
        Ok(Self { connection: connected.map_err(outage)? })
    }

    /// Reads which of `numbers` are in `telemetry`, for `tenants` and not before `since`; in order.
    pub async fn ranges(
        &mut self,
        tenants: &[String],
        since: DateTime<Utc>,
        numbers: RangeInclusive<i64>,
    ) -> Result<Vec<NumberRange>, Outage> {
        let query = sqlx::query_as(RANGES)
            .bind(tenants)
            .bind(since)
            .bind(numbers.start())
            .bind(numbers.end());
        query.bind(RANGES_MAX).fetch_all(&mut self.connection).await.map_err(outage)
    }

    /// Counts the refused messages of `tenants`, or of no tenant, by reason.
    pub async fn refusals(&mut self, tenants: &[String]) -> Result<BTreeMap<String, i64>, Outage> {
        let fetched = sqlx::query_as(REFUSALS).bind(tenants).fetch_all(&mut self.connection).await;
        let rows: Vec<(String, i64)> = fetched.map_err(outage)?;
        Ok(rows.into_iter().collect())
    }

    /// Closes the connection; an error is only logged.
    pub async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the connection to Postgres did not close cleanly");
        }
    }
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}
