//! The findings of `doctor` about the engine.
//!
//! It changes nothing.

use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::store::connection::database::Database;
use crate::store::connection::engine::{EngineKind, TelemetryLayout};
use crate::store::connection::writer_connection::answer;

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
    if database.columnstore_after_days().is_some() && engine.layout != TelemetryLayout::Columnstore
    {
        findings.push(Finding::warning(
            "COLUMNSTORE_AFTER_DAYS is set, and telemetry has no columnstore: nothing is moved",
            "run `sluice store hypertable --columnstore`, or set COLUMNSTORE_AFTER_DAYS=0",
        ));
    }
    Ok(findings)
}
