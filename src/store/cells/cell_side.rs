//! What is read and written in the cell: its facts, the triggers of a copy, the subscription.
//!
//! It decides nothing. Everything that joins happens in one transaction, and so does everything that
//! leaves.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use super::membership::Membership;
use super::registry_link::RegistryLink;
use super::registry_url::{masked, redacted};
use super::subscribe::{self, NewSubscription};
use super::{GUARDED, REPLICATED};
use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

const FACTS: &str = "SELECT current_setting('server_version_num')::int AS version, \
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser, \
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_create_subscription' AND pg_has_role(oid, 'MEMBER')) \
        AND has_database_privilege(current_database(), 'CREATE') AS may_subscribe, \
    current_setting('max_logical_replication_workers')::int AS workers, current_user::text AS role";

const STATE: &str = "SELECT (SELECT cell_id FROM cell WHERE left_at IS NULL) AS is_cell, \
    (SELECT registry_id FROM cell WHERE left_at IS NOT NULL) AS former_registry, \
    (SELECT count(*) FROM cells) AS cells, current_schema()::text AS schema";

const SUBSCRIPTION: &str = "SELECT s.subenabled AS is_enabled, st.pid IS NOT NULL AS is_running, \
        st.received_lsn::text AS received_lsn, st.last_msg_receipt_time AS last_message_at, \
        (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate NOT IN ('r', 's')) AS copying, \
        coalesce((SELECT e.apply_error_count + e.sync_error_count FROM pg_stat_subscription_stats e WHERE e.subid = s.oid), 0) \
            AS errors \
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
    LEFT JOIN pg_stat_subscription st ON st.subid = s.oid AND st.relid IS NULL \
    WHERE s.subname = $1 ORDER BY st.pid NULLS LAST LIMIT 1";

const IS_COPYING: &str = "SELECT EXISTS (SELECT FROM pg_subscription s \
    JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
    JOIN pg_subscription_rel r ON r.srsubid = s.oid AND r.srsubstate NOT IN ('r', 's') \
    JOIN cell c ON c.subscription = s.subname AND c.left_at IS NULL)";

const NOTE_JOINED: &str = "INSERT INTO cell (cell_id, registry, registry_id, subscription) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (single) DO UPDATE SET cell_id = excluded.cell_id, registry = excluded.registry, \
        registry_id = excluded.registry_id, subscription = excluded.subscription, joined_at = now(), left_at = NULL, \
        older_registry = NULL";

/// The advisory lock that shows whether two connections lead to one database.
const SAME_DATABASE_LOCK: i64 = 0x736c_7569_6365_0041;

/// Facts of the connection that joins.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CellFacts {
    /// `server_version_num`.
    pub version: i32,
    /// Whether the role is a superuser.
    pub is_superuser: bool,
    /// Whether the role may create subscriptions without being one.
    pub may_subscribe: bool,
    /// `max_logical_replication_workers`.
    pub workers: i32,
    /// The role.
    pub role: String,
}

/// What this database was and is.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CellState {
    /// It is a cell of this name.
    pub is_cell: Option<String>,
    /// The registry that it left.
    pub former_registry: Option<String>,
    /// Rows in `cells`: its own cells, if it is a registry.
    pub cells: i64,
    /// Where its tables are.
    pub schema: Option<String>,
}

/// The subscription, as the cell's Postgres reports it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct SubscriptionState {
    /// Whether it is enabled.
    pub is_enabled: bool,
    /// Whether its process runs.
    pub is_running: bool,
    /// How far it has received.
    pub received_lsn: Option<String>,
    /// When the last message of the registry came.
    pub last_message_at: Option<DateTime<Utc>>,
    /// Tables whose first copy is not complete.
    pub copying: i64,
    /// Changes and copies that failed; each is tried again.
    pub errors: i64,
}

/// What to create in the cell.
#[derive(Debug)]
pub struct Joining<'a> {
    /// The name of the cell, the place of the registry, its identity, and the name of the subscription.
    pub membership: &'a Membership,
    /// The URL in the subscription.
    pub url: &'a Secret,
    /// Whether the rows are copied first.
    pub copy: bool,
    /// Whether the copy that is here is deleted before.
    pub replace: bool,
    /// Where the tables are.
    pub schema: &'a str,
}

/// Whether this is a cell that has not received all rows of the registry yet.
pub async fn is_copying(session: &mut WriterConnection) -> Result<bool, Outage> {
    Ok(answer(sqlx::query_scalar(IS_COPYING).fetch_one(&mut session.connection)).await?)
}

/// A list of revocations from an incomplete copy would let revoked devices in.
pub async fn refuse_while_copying(session: &mut WriterConnection) -> Result<(), Outage> {
    if is_copying(session).await? {
        return Err(Outage(
            "this cell has not received all revocations of its registry yet, and a CRL would lack some: `sluice cell status` \
             shows how far the copy is"
                .to_owned(),
        ));
    }
    Ok(())
}

// === impl Joining ===

impl Joining<'_> {
    /// The statements, with the password masked; the row of `cell` is described.
    pub fn shown(&self) -> Vec<String> {
        let mut shown = self.emptying();
        shown.extend(trigger_statements());
        shown.push(format!("INSERT INTO cell VALUES ('{}', ..)", self.membership.cell_id));
        shown.push(self.subscription(&masked(self.url)).shown());
        shown
    }

    fn subscription<'a>(&'a self, url: &'a str) -> NewSubscription<'a> {
        NewSubscription { name: &self.membership.subscription, url, copy: self.copy }
    }

    fn emptying(&self) -> Vec<String> {
        let emptied =
            REPLICATED.into_iter().rev().filter(|table| self.replace || *table == "cells");
        let emptied = emptied.map(|table| format!("DELETE FROM {table}")).collect::<Vec<_>>();
        if !self.replace {
            return emptied;
        }
        let replica = "SET LOCAL session_replication_role = replica".to_owned();
        let origin = "SET LOCAL session_replication_role = origin".to_owned();
        [vec![replica], emptied, vec![origin]].concat()
    }
}

// === impl RegistryLink ===

impl RegistryLink {
    /// Reads the facts of the cell's Postgres, and of the role.
    pub async fn cell_facts(&mut self) -> Result<CellFacts, Outage> {
        Ok(answer(sqlx::query_as(FACTS).fetch_one(&mut self.session.connection)).await?)
    }

    /// Whether both connections lead to one database. A copied server has the identifier of its
    /// original, so only a lock tells.
    pub async fn is_same_database(&mut self, other: &mut Self) -> Result<bool, Outage> {
        let key: i64 = SAME_DATABASE_LOCK;
        let query = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
        answer(query.execute(&mut self.session.connection)).await?;
        let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key);
        let is_free: bool = answer(query.fetch_one(&mut other.session.connection)).await?;
        for link in [self, other] {
            let query = sqlx::query("SELECT pg_advisory_unlock_all()");
            answer(query.execute(&mut link.session.connection)).await?;
        }
        Ok(!is_free)
    }
}

/// Reads what this database was and is.
pub async fn state(pool: &PgPool) -> Result<CellState, Outage> {
    Ok(answer(sqlx::query_as(STATE).fetch_one(pool)).await?)
}

/// Reads the subscription; `None` means that there is none of this name.
pub async fn subscription(pool: &PgPool, name: &str) -> Result<Option<SubscriptionState>, Outage> {
    Ok(answer(sqlx::query_as(SUBSCRIPTION).bind(name).fetch_optional(pool)).await?)
}

/// The sign of life of this cell, as it came back from the registry.
pub async fn echo(pool: &PgPool, cell_id: &str) -> Result<Option<DateTime<Utc>>, Outage> {
    let query = sqlx::query_scalar("SELECT seen_at FROM cells WHERE cell_id = $1").bind(cell_id);
    Ok(answer(query.fetch_optional(pool)).await?)
}

/// Joins, in one transaction.
pub async fn join(link: &mut RegistryLink, joining: &Joining<'_>) -> Result<(), Outage> {
    let connection = &mut link.session.connection;
    subscribe::keep_out_of_logs(connection).await?;
    let membership = joining.membership;
    let joined = async {
        let mut tx = connection.begin().await?;
        run(&mut tx, format!("SET LOCAL search_path TO {}", quoted(joining.schema))).await?;
        for statement in joining.emptying().into_iter().chain(trigger_statements()) {
            run(&mut tx, statement).await?;
        }
        let noted = sqlx::query(NOTE_JOINED)
            .bind(&membership.cell_id)
            .bind(&membership.registry)
            .bind(&membership.registry_id)
            .bind(&membership.subscription);
        noted.execute(&mut *tx).await?;
        joining.subscription(joining.url.expose()).create(&mut tx).await?;
        tx.commit().await
    };
    joined.await.map_err(|error| {
        let Outage(why) = StoreError::from(error).into();
        Outage(redacted(&why, joining.url))
    })
}

/// Leaves, in one transaction: the subscription, the triggers, and the copy of `cells` go. The slot at
/// the registry stays.
pub async fn leave(
    link: &mut RegistryLink,
    schema: &str,
    subscription: Option<&str>,
) -> Result<(), Outage> {
    let connection = &mut link.session.connection;
    let left = async {
        let mut tx = connection.begin().await?;
        run(&mut tx, format!("SET LOCAL search_path TO {}", quoted(schema))).await?;
        if let Some(name) = subscription {
            run(&mut tx, format!("ALTER SUBSCRIPTION {name} DISABLE")).await?;
            run(&mut tx, format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")).await?;
            run(&mut tx, format!("DROP SUBSCRIPTION {name}")).await?;
        }
        for statement in drop_statements() {
            run(&mut tx, statement).await?;
        }
        run(&mut tx, "DELETE FROM cells".to_owned()).await?;
        run(&mut tx, "UPDATE cell SET left_at = now() WHERE left_at IS NULL".to_owned()).await?;
        tx.commit().await
    };
    left.await.map_err(|error: sqlx::Error| StoreError::from(error).into())
}

// --- private helpers ---

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(statement)).await.map(drop)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The triggers of a copy: hands are refused, and what replication writes is noticed.
fn trigger_statements() -> Vec<String> {
    let guard = |table| {
        format!(
            "CREATE TRIGGER cell_guard BEFORE INSERT OR UPDATE OR DELETE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION sluice_refuse_in_cell()"
        )
    };
    let mut statements: Vec<String> = GUARDED.into_iter().map(guard).collect();
    for (name, events, table, function) in NOTICING {
        statements.push(format!(
            "CREATE TRIGGER {name} AFTER {events} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
        ));
        statements.push(format!("ALTER TABLE {table} ENABLE REPLICA TRIGGER {name}"));
    }
    statements
}

fn drop_statements() -> impl Iterator<Item = String> {
    let guards = GUARDED.into_iter().map(|table| ("cell_guard", table));
    let noticing = NOTICING.into_iter().map(|(name, _, table, _)| (name, table));
    guards.chain(noticing).map(|(name, table)| format!("DROP TRIGGER IF EXISTS {name} ON {table}"))
}

const EVERY: &str = "INSERT OR UPDATE OR DELETE";

/// Name, events, table and function of the triggers that fire for replication only.
const NOTICING: [(&str, &str, &str, &str); 6] = [
    ("cell_notify", EVERY, "tenants", "sluice_notify_in_cell"),
    ("cell_notify", EVERY, "devices", "sluice_notify_in_cell"),
    ("cell_notify", EVERY, "device_certificates", "sluice_notify_in_cell"),
    ("cell_note", "INSERT OR UPDATE", "revoked_certificates", "sluice_note_revocation_in_cell"),
    ("cell_forget", "DELETE", "tenants", "sluice_forget_in_cell"),
    ("cell_forget", "DELETE", "devices", "sluice_forget_in_cell"),
];
