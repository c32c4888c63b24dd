//! Spreads `telemetry` over the nodes of Citus, or makes it a hypertable of Timescale: the statements,
//! and why they are refused.
//!
//! All statements of a change run in one transaction. It never reverts a change.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::engine::{EngineKind, StoreEngine, TelemetryLayout};
use crate::store::error::StoreError;
use crate::store::layout::open_functions;
use crate::store::registry::audit::{self, Actor, Entry};

/// How long the change waits for the writers; they wait behind it, and then until it is done. A server
/// whose client is gone would end its statement first, and keep the lock meanwhile.
const PATIENCE: &str =
    "SET LOCAL lock_timeout = '10s'; SET LOCAL client_connection_check_interval = '1s'";

/// Each shard costs every batch a statement of its own; with more of them, rows can move to more nodes.
const SHARDS_A_NODE: i64 = 4;

/// The nodes that may have rows.
const NODES: &str = "SELECT count(*) FROM pg_dist_node WHERE isactive AND shouldhaveshards AND noderole = 'primary'";

/// Citus commits at several nodes in two phases.
const PREPARED: &str = "SELECT current_setting('max_prepared_transactions')::bigint";

/// Empty: `telemetry` is one of Sluice's, partitioned by day.
const IS_PARTITIONED: &str =
    "SELECT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass('telemetry'))";

const LICENSE: &str = "SELECT current_setting('timescaledb.license', true)";

const HAS_READER: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader')";

/// Roles with a grant of their own. On a hypertable no policy covers the chunks, and a grant on the table
/// is copied to them; a new table has no grant. A trusted member of `sluice_reader` gets its grant
/// again.
const OTHER_READERS: &str = "SELECT string_agg(coalesce(r.rolname, 'PUBLIC'), ', ' ORDER BY r.rolname) \
    FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee \
    WHERE c.oid = to_regclass('telemetry') AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner \
        AND r.rolname IS DISTINCT FROM 'sluice_reader' AND r.rolsuper IS NOT TRUE \
        AND (r.rolbypassrls AND pg_has_role(r.oid, to_regrole('sluice_reader'), 'MEMBER')) IS NOT TRUE";

/// An estimate by the server's statistics: counting a large table takes longer than the change.
const ROWS: &str = "SELECT coalesce(sum(greatest(reltuples, pg_stat_get_live_tuples(oid))), 0)::bigint FROM pg_class \
    WHERE oid = to_regclass('telemetry') OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('telemetry'))";

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutChange {
    /// Spread telemetry over the nodes of Citus, by the device.
    Spread {
        /// Parts that the rows are spread over; `None`: [`SHARDS_A_NODE`] for each node.
        shards: Option<u32>,
    },
    /// Make telemetry a hypertable of Timescale.
    Hypertable {
        /// Whether its older chunks may go into the columnstore.
        columnstore: bool,
    },
}

/// A change that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutPlan {
    /// The layout that they change.
    pub before: TelemetryLayout,
    /// The statements, in order. The first one locks the table.
    pub statements: Vec<String>,
    /// About how many rows move.
    pub rows: i64,
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutRefusal {
    /// The extension is not in the database.
    #[error(
        "this database has no extension {extension}: install it on the server, add it to \
        shared_preload_libraries, and run CREATE EXTENSION {extension} in the database (STORE_ENGINE must \
        allow it)"
    )]
    NoExtension {
        /// Its name.
        extension: &'static str,
    },
    /// There is nothing to change.
    #[error("telemetry lies {0} already")]
    Done(&'static str),
    /// The other engine has it.
    #[error(
        "telemetry is a hypertable of Timescale, which Citus cannot distribute: choose one of the two engines"
    )]
    IsHypertable,
    /// The other engine has it.
    #[error(
        "telemetry is distributed by Citus, and Timescale makes no hypertable of it: choose one of the two \
        engines"
    )]
    IsDistributed,
    /// Its partitions are not those of the migrations.
    #[error(
        "telemetry is not partitioned by day: its layout is not of Sluice, and Sluice does not change it"
    )]
    Unknown,
    /// Citus has no node for rows.
    #[error(
        "Citus has no node that takes rows: run SELECT citus_add_node('<host>', 5432) for each worker, or on \
        one machine SELECT citus_set_coordinator_host('<host>', 5432), and then \
        SELECT citus_set_node_property('<host>', 5432, 'shouldhaveshards', true)"
    )]
    NoNodes,
    /// Two-phase commit is off.
    #[error(
        "max_prepared_transactions is 0, and Citus commits at several nodes in two phases: set it to \
        max_connections or more at each node, and restart them"
    )]
    NoPreparedTransactions,
    /// Roles that would see all tenants, or nothing.
    #[error(
        "these roles have a grant of their own on telemetry: {0}; on a hypertable no policy limits them to \
        their tenant: REVOKE SELECT ON telemetry from them, and make them members of sluice_reader"
    )]
    OtherReaders(String),
    /// A dashboard could drop the rows of all tenants.
    #[error(
        "this version of Timescale lets every login drop a chunk, a tenant's dashboard included: update it to \
        2.29.1 or later, or run as a superuser in this database: {0}"
    )]
    OpenFunctions(String),
    /// The licence excludes the columnstore.
    #[error(
        "timescaledb.license is {0}, which has no columnstore: set it to timescale (free to use, not to sell \
        as a service), or leave out --columnstore"
    )]
    License(String),
    /// The database failed.
    #[error("nothing was changed: {0}")]
    Outage(#[from] Outage),
}

/// Checks that the change is possible, and returns its statements.
pub async fn plan(database: &Database, change: LayoutChange) -> Result<LayoutPlan, LayoutRefusal> {
    let engine = database.read_engine().await?;
    let mut connection = database.pool().acquire().await.map_err(outage)?;
    let statements = match change {
        LayoutChange::Spread { shards } => {
            let nodes = refuse_spread(&mut connection, &engine).await?;
            spread(shards.map_or(nodes.saturating_mul(SHARDS_A_NODE), i64::from))
        }
        LayoutChange::Hypertable { columnstore } => {
            refuse_hypertable(&mut connection, &engine, columnstore).await?;
            let has_reader = sqlx::query_scalar(HAS_READER).fetch_one(&mut *connection).await;
            hypertable(engine.layout, columnstore, has_reader.map_err(outage)?)
        }
    };
    let rows = sqlx::query_scalar(ROWS).fetch_one(&mut *connection).await.map_err(outage)?;
    Ok(LayoutPlan { before: engine.layout, statements, rows })
}

/// Runs the statements of a plan in one transaction, with an entry in the audit log.
pub async fn apply(
    database: &Database,
    plan: &LayoutPlan,
    actor: &Actor,
    action: &'static str,
) -> Result<(), LayoutRefusal> {
    let mut session = database.connect().await.map_err(Outage::from)?;
    let applied = async {
        let mut transaction = session.connection.begin().await?;
        sqlx::raw_sql(PATIENCE).execute(&mut *transaction).await?;
        for (number, statement) in plan.statements.iter().enumerate() {
            sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *transaction).await?;
            // A command that held the lock before has perhaps made the same change.
            if number == 0 {
                let now = StoreEngine::read(&mut transaction, database.expected_engine()).await?;
                if now.layout != plan.before {
                    return Ok(Some(now.layout));
                }
            }
        }
        let detail = json!({ "rows": plan.rows, "statements": plan.statements });
        let entry = Entry { actor, action, tenant: None, device: None, detail };
        audit::record(&mut transaction, entry).await?;
        transaction.commit().await.map(|()| None)
    };
    let changed_meanwhile = applied.await.map_err(outage)?;
    session.close().await;
    if let Some(layout) = changed_meanwhile {
        return Err(LayoutRefusal::Done(layout.text()));
    }
    Ok(database.read_engine().await.map(drop)?)
}

// === the statements ===

fn spread(shards: i64) -> Vec<String> {
    vec![
        "LOCK TABLE telemetry IN ACCESS EXCLUSIVE MODE".to_owned(),
        format!(
            "SELECT create_distributed_table('telemetry', 'device_id', shard_count => {shards})"
        ),
        // The coordinator keeps the rows that it copied, and nothing reads them.
        "SELECT truncate_local_data_after_distributing_table('telemetry')".to_owned(),
    ]
}

fn hypertable(before: TelemetryLayout, columnstore: bool, has_reader: bool) -> Vec<String> {
    let mut statements = vec!["LOCK TABLE telemetry IN ACCESS EXCLUSIVE MODE"];
    if before == TelemetryLayout::Partitioned {
        statements.extend([
            "CREATE TABLE telemetry_next (LIKE telemetry INCLUDING ALL EXCLUDING INDEXES)",
            "SELECT create_hypertable('telemetry_next', by_range('time', INTERVAL '1 day'), \
                create_default_indexes => false)",
            "INSERT INTO telemetry_next SELECT * FROM telemetry",
            "DROP VIEW telemetry_mine",
            "DROP TABLE telemetry",
            "ALTER TABLE telemetry_next RENAME TO telemetry",
            "CREATE UNIQUE INDEX telemetry_once ON telemetry (tenant_id, device_id, time, message_id)",
            "CREATE INDEX telemetry_received ON telemetry USING brin (received_at) WITH (autosummarize = on)",
            "COMMENT ON TABLE telemetry IS 'Accepted messages, in chunks by day (UTC) on time; old chunks are \
                dropped after TELEMETRY_RETENTION_DAYS.'",
        ]);
    } else if has_reader {
        statements.extend([
            "REVOKE ALL ON telemetry FROM sluice_reader",
            "DROP POLICY IF EXISTS sluice_reader_tenant ON telemetry",
            "ALTER TABLE telemetry DISABLE ROW LEVEL SECURITY",
        ]);
    }
    if columnstore {
        statements.push(
            "ALTER TABLE telemetry SET (timescaledb.enable_columnstore, \
                timescaledb.segmentby = 'tenant_id, device_id', timescaledb.orderby = 'time DESC, message_id DESC')",
        );
    }
    statements.push(if has_reader {
        "SELECT sluice_bind_reader()"
    } else {
        "SELECT sluice_make_telemetry_mine()"
    });
    statements.into_iter().map(str::to_owned).collect()
}

// === the refusals ===

/// Returns how many nodes take rows.
async fn refuse_spread(
    connection: &mut PgConnection,
    engine: &StoreEngine,
) -> Result<i64, LayoutRefusal> {
    if engine.layout.is_hypertable() {
        return Err(LayoutRefusal::IsHypertable);
    }
    if engine.kind != EngineKind::Citus {
        return Err(LayoutRefusal::NoExtension { extension: "citus" });
    }
    if engine.layout == TelemetryLayout::Distributed {
        return Err(LayoutRefusal::Done(engine.layout.text()));
    }
    refuse_unknown(connection).await?;
    let nodes: i64 = sqlx::query_scalar(NODES).fetch_one(&mut *connection).await.map_err(outage)?;
    if nodes == 0 {
        return Err(LayoutRefusal::NoNodes);
    }
    let prepared: i64 = sqlx::query_scalar(PREPARED).fetch_one(connection).await.map_err(outage)?;
    if prepared == 0 {
        return Err(LayoutRefusal::NoPreparedTransactions);
    }
    Ok(nodes)
}

async fn refuse_hypertable(
    connection: &mut PgConnection,
    engine: &StoreEngine,
    columnstore: bool,
) -> Result<(), LayoutRefusal> {
    if engine.layout == TelemetryLayout::Distributed {
        return Err(LayoutRefusal::IsDistributed);
    }
    if engine.kind != EngineKind::Timescale {
        return Err(LayoutRefusal::NoExtension { extension: "timescaledb" });
    }
    let is_done = match engine.layout {
        TelemetryLayout::Columnstore => true,
        TelemetryLayout::Hypertable => !columnstore,
        TelemetryLayout::Partitioned | TelemetryLayout::Distributed => false,
    };
    if is_done {
        return Err(LayoutRefusal::Done(engine.layout.text()));
    }
    if columnstore {
        let license: Option<String> =
            sqlx::query_scalar(LICENSE).fetch_one(&mut *connection).await.map_err(outage)?;
        if let Some(license) = license.filter(|license| license == "apache") {
            return Err(LayoutRefusal::License(license));
        }
    }
    if engine.layout == TelemetryLayout::Partitioned {
        refuse_unknown(&mut *connection).await?;
    }
    let others: Option<String> =
        sqlx::query_scalar(OTHER_READERS).fetch_one(&mut *connection).await.map_err(outage)?;
    if let Some(roles) = others {
        return Err(LayoutRefusal::OtherReaders(roles));
    }
    let revocation = open_functions::revocation(connection).await.map_err(outage)?;
    revocation.map_or(Ok(()), |statement| Err(LayoutRefusal::OpenFunctions(statement)))
}

async fn refuse_unknown(connection: &mut PgConnection) -> Result<(), LayoutRefusal> {
    let is_partitioned = sqlx::query_scalar(IS_PARTITIONED).fetch_one(connection).await;
    if is_partitioned.map_err(outage)? { Ok(()) } else { Err(LayoutRefusal::Unknown) }
}

fn outage(error: sqlx::Error) -> Outage {
    StoreError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypertable_is_bound_again_after_its_last_change() {
        for (before, columnstore) in [
            (TelemetryLayout::Partitioned, false),
            (TelemetryLayout::Partitioned, true),
            (TelemetryLayout::Hypertable, true),
        ] {
            let statements = hypertable(before, columnstore, true);
            assert!(statements.last().unwrap().contains("sluice_bind_reader"), "{statements:?}");
            let enables = statements.iter().any(|it| it.contains("enable_columnstore"));
            assert_eq!(enables, columnstore);
        }
        let kept = hypertable(TelemetryLayout::Hypertable, true, true).join("; ");
        assert!(!kept.contains("DROP TABLE") && kept.contains("DISABLE ROW LEVEL SECURITY"));
    }
}
