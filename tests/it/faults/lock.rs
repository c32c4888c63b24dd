//! A lock on a table that blocks the daemon in the middle of a transaction, for as long as the
//! test wants.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::database::{Database, block_on};
use crate::support::wait;

/// The state of a session that stands before a lock.
pub const LOCKED_OUT: &str = "wait_event_type = 'Lock'";

/// Whether the daemon's writer does, with or without a transaction of its own by then; those who
/// clean up may, too.
pub const LOCKED_OUT_SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'sluice' AND wait_event_type = 'Lock' AND (query LIKE 'COPY %' OR query LIKE 'WITH %')";

/// A transaction that holds the lock; it ends when this is dropped.
pub struct Lock {
    connection: Option<PgConnection>,
}

// === impl Lock ===

impl Lock {
    /// Nobody writes to this table from now on.
    pub fn on(database: &Database<'_>, table: &str) -> Self {
        Self::of_mode(database, table, "SHARE")
    }

    /// Nobody reads this table from now on, either.
    pub fn against_readers(database: &Database<'_>, table: &str) -> Self {
        Self::of_mode(database, table, "ACCESS EXCLUSIVE")
    }

    /// Nobody changes the rows of this table where the condition holds from now on.
    pub fn on_rows(database: &Database<'_>, table: &str, condition: &str) -> Self {
        Self::by(database, format!("BEGIN; SELECT FROM {table} WHERE {condition} FOR UPDATE"))
    }

    fn of_mode(database: &Database<'_>, table: &str, mode: &str) -> Self {
        Self::by(database, format!("BEGIN; LOCK TABLE {table} IN {mode} MODE"))
    }

    fn by(database: &Database<'_>, sql: String) -> Self {
        let url = database.socket_url();
        let connection = block_on(async move {
            let mut connection = PgConnection::connect(&url).await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        });
        Self { connection: Some(connection.unwrap()) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // The server may be gone, and the lock with it.
            let _ = block_on(connection.close());
        }
    }
}

/// Waits until a session of the daemon is in this state; returns the number of its transaction.
pub fn wait_for_session(database: &Database<'_>, state: &str) -> u64 {
    let sql = format!(
        "SELECT backend_xid FROM pg_stat_activity WHERE application_name = 'sluice' AND datname = current_database() \
         AND backend_xid IS NOT NULL AND {state}"
    );
    wait::for_some(&format!("a transaction of the daemon is in the state {state}"), || {
        database.query(&sql).first().and_then(|row| row[0].parse().ok())
    })
}
