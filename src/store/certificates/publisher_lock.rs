//! Which replica publishes the CRL and ends sessions: one at a time, by an advisory lock that ends with its
//! connection.
//!
//! A replica with the broker's plugin goes before one without: only through the plugin are probes admitted
//! and sessions closed. A standby with the plugin shares a second lock; it shows the others that it is there.
//! It publishes nothing.

use sqlx::PgConnection;

use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// The advisory lock of the publisher: "sluice" and a number.
const PUBLISHER_LOCK: i64 = 0x736c_7569_6365_0009;

/// The advisory lock that all replicas with the broker's plugin share.
const PLUGIN_LOCK: i64 = 0x736c_7569_6365_000d;

/// Whether another connection to this database holds the lock `$1`.
const IS_HELD: &str = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database \
    WHERE locktype = 'advisory' AND datname = current_database() AND pid <> pg_backend_pid() AND granted \
    AND (classid::bigint << 32) + objid::bigint = $1 AND objsubid = 1)";

/// The locks of one connection.
#[derive(Debug, Default)]
pub(super) struct PublisherLock {
    is_publisher: bool,
    shows_plugin: bool,
}

impl PublisherLock {
    /// Tries to become the publisher; returns whether this is the publisher. `has_plugin` says whether the
    /// broker's plugin is connected to this replica.
    pub async fn claim(
        &mut self,
        connection: &mut PgConnection,
        has_plugin: bool,
    ) -> Result<bool, Outage> {
        self.show_plugin(connection, has_plugin).await?;
        if !self.is_publisher && (has_plugin || !is_held(connection, PLUGIN_LOCK).await?) {
            let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(PUBLISHER_LOCK);
            self.is_publisher = answer(query.fetch_one(connection)).await?;
        }
        Ok(self.is_publisher)
    }

    /// Whether the publisher must give up the lock: it has no plugin, and another replica has one.
    pub async fn must_yield(
        &mut self,
        connection: &mut PgConnection,
        has_plugin: bool,
    ) -> Result<bool, Outage> {
        self.show_plugin(connection, has_plugin).await?;
        Ok(!has_plugin && is_held(connection, PLUGIN_LOCK).await?)
    }

    /// Shows the other replicas whether the plugin is connected to this one.
    async fn show_plugin(
        &mut self,
        connection: &mut PgConnection,
        has_plugin: bool,
    ) -> Result<(), Outage> {
        if self.shows_plugin == has_plugin {
            return Ok(());
        }
        let change = if has_plugin {
            "SELECT pg_try_advisory_lock_shared($1)"
        } else {
            "SELECT pg_advisory_unlock_shared($1)"
        };
        let query = sqlx::query_scalar::<_, bool>(change).bind(PLUGIN_LOCK);
        let is_done = answer(query.fetch_one(connection)).await?;
        self.shows_plugin = has_plugin == is_done;
        Ok(())
    }
}

// === private helpers ===

async fn is_held(connection: &mut PgConnection, lock: i64) -> Result<bool, Outage> {
    Ok(answer(sqlx::query_scalar(IS_HELD).bind(lock).fetch_one(connection)).await?)
}
