//! The findings of `doctor` about the engine.
//!
//! It changes nothing.

use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::engine::{EngineKind, StoreEngine, TelemetryLayout};
use crate::store::connection::writer_connection::answer;
use crate::store::layout::open_functions;

const NODES_AWAY: &str = "SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE NOT isactive AND noderole = 'primary'";

const PREPARED: &str = "SELECT current_setting('max_prepared_transactions')::bigint";

/// The engine, and what it lacks.
pub(crate) async fn findings(database: &Database) -> Result<Vec<Finding>, Outage> {
    let engine = database.read_engine().await?;
    if let Some(complaint) = engine.complaint(database.expected_engine()) {
        return Ok(vec![Finding::error(complaint, "see docs/how-to/citus.md or timescale.md")]);
    }
    let mut findings = vec![Finding::ok(format!("the store is {engine}"))];
    if engine.kind == EngineKind::Citus {
        let nodes: Vec<String> =
            answer(sqlx::query_scalar(NODES_AWAY).fetch_all(database.pool())).await?;
        if !nodes.is_empty() {
            findings.push(Finding::error(
                format!(
                    "Citus has disabled the nodes {}: their rows are not reached",
                    nodes.join(", ")
                ),
                "start them, and run SELECT citus_activate_node('<host>', <port>)",
            ));
        }
        let prepared: i64 = answer(sqlx::query_scalar(PREPARED).fetch_one(database.pool())).await?;
        if prepared == 0 && engine.layout == TelemetryLayout::Distributed {
            findings.push(Finding::error(
                "max_prepared_transactions is 0: a batch with rows at several nodes cannot be committed",
                "set it to max_connections or more at each node, and restart them",
            ));
        }
    }
    findings.extend(Box::pin(open_to_each_login(database, &engine)).await?);
    if database.columnstore_after_days().is_some() && engine.layout != TelemetryLayout::Columnstore
    {
        findings.push(Finding::warning(
            "COLUMNSTORE_AFTER_DAYS is set, and telemetry has no columnstore: nothing is moved",
            "run `sluice store hypertable --columnstore`, or set COLUMNSTORE_AFTER_DAYS=0",
        ));
    }
    Ok(findings)
}

/// What a dashboard may do beyond reading. A plain table in a database with Timescale has no chunks.
async fn open_to_each_login(
    database: &Database,
    engine: &StoreEngine,
) -> Result<Option<Finding>, Outage> {
    if engine.kind == EngineKind::Plain || engine.layout == TelemetryLayout::Partitioned {
        return Ok(None);
    }
    let read = async {
        let mut connection = database.pool().acquire().await?;
        open_functions::revocation(&mut connection).await
    };
    let Some(statement) = answer(read).await? else { return Ok(None) };
    Ok(Some(if engine.kind == EngineKind::Timescale {
        Finding::error(
            "members of sluice_reader can drop and freeze the chunks of all tenants: this version of Timescale \
            does not check who calls",
            format!("update Timescale to 2.29.1 or later, or run as a superuser: {statement}"),
        )
    } else {
        Finding::warning(
            "members of sluice_reader can call functions of Citus that end the server or change its metadata",
            format!("run as a superuser on each node: {statement}"),
        )
    }))
}
