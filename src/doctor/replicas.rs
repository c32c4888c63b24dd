//! Checks the replicas that have a session at a broker: none may be orphaned.
//!
//! It reads the table that each replica writes, and asks no broker.

use crate::config::Config;
use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::domain::replica::{ReplicaState, duration_text};
use crate::store::access::replica_sessions;
use crate::store::connection::database::Database;

/// The most replicas with a finding of their own.
const LISTED: usize = 10;

/// One finding for each orphaned session, or one that there is none.
pub(super) async fn check(config: &Config, database: &Database) -> Result<Vec<Finding>, Outage> {
    let sessions = replica_sessions::list(database.pool(), config.replica.orphan_after).await?;
    let of = |state| sessions.iter().filter(move |session| session.state == state);
    let orphans = of(ReplicaState::Orphaned).take(LISTED);
    let mut findings: Vec<_> = orphans
        .map(|orphan| Finding::warning(orphan.orphan_text(), orphan.orphan_advice()))
        .collect();
    findings.extend(of(ReplicaState::Gone).take(LISTED).map(|gone| {
        Finding::ok(format!(
            "{} was not seen for {}, and is no member of a share group",
            gone.client_id,
            duration_text(gone.seen_seconds_ago)
        ))
    }));
    let running = of(ReplicaState::Running).count();
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{running} running, none orphaned")));
    }
    Ok(findings)
}
