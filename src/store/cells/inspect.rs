//! Inspects the copy of the registry, or the cells of a registry; the findings are the doctor's.
//!
//! It changes nothing, and writes no sign of life.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::age::older_registry;
use super::cell_side::{self, SubscriptionState};
use super::membership::{self, CellRole, Membership};
use super::registry_link::RegistryLink;
use super::registry_side::{self, CellOverview};
use crate::config::secret::Secret;
use crate::domain::finding::Finding;
use crate::domain::ports::Outage;

/// WAL that a cell may hold before the doctor mentions it.
const MUCH_WAL: i64 = 1 << 30;
/// A cell whose Sluice was not seen for longer, in seconds.
const LONG_UNSEEN: f64 = 60.0;
/// What a cell that cannot catch up needs.
const JOIN_AGAIN: &str = "in the cell: stop Sluice, `sluice cell leave --force`, `sluice cell join NAME --replace --yes`, start \
    Sluice; Mosquitto keeps the messages meanwhile";

/// Findings about cells.
pub async fn check(pool: &PgPool, url: Option<&Secret>) -> Result<Vec<Finding>, Outage> {
    match membership::role(pool).await? {
        CellRole::Alone => {
            Ok(vec![Finding::ok("this database is its own registry, without cells")])
        }
        CellRole::Registry => {
            let mut findings = bound(registry_side::keep_megabytes(pool).await?);
            for cell in registry_side::overview(pool).await? {
                findings.push(judge_cell(&cell));
            }
            Ok(findings)
        }
        CellRole::Cell(membership) => check_copy(pool, url, &membership).await,
    }
}

// --- private helpers ---

fn bound(megabytes: i64) -> Vec<Finding> {
    if megabytes >= 0 {
        return Vec::new();
    }
    vec![Finding::warning(
        "max_slot_wal_keep_size is -1: a cell that is away fills the disk of the registry with WAL",
        "set a bound, such as 50GB, in postgresql.conf; a cell that is away for longer joins again",
    )]
}

fn judge_cell(cell: &CellOverview) -> Finding {
    let (name, held) = (&cell.cell_id, cell.held_bytes >> 20);
    if let Some(fault) = cell.slot_fault() {
        return Finding::error(
            format!("cell {name} does not receive the registry: {fault}"),
            JOIN_AGAIN,
        );
    }
    let advice = "see whether the cell's Postgres and Sluice run and reach this one; if the cell is gone, `sluice cell leave` \
        there, or drop its slot and its row in cells here";
    if !cell.is_active {
        return Finding::warning(
            format!(
                "cell {name} is not connected, and this registry keeps {held} MiB of WAL for it"
            ),
            advice,
        );
    }
    if cell.held_bytes > MUCH_WAL {
        return Finding::warning(
            format!("this registry keeps {held} MiB of WAL for cell {name}"),
            advice,
        );
    }
    if cell.seen_seconds > LONG_UNSEEN {
        let what = format!("no Sluice of cell {name} wrote here for {:.0} s", cell.seen_seconds);
        return Finding::warning(
            what,
            "set REGISTRY_URL in the cell, and see whether its Sluice runs",
        );
    }
    Finding::ok(format!("cell {name} is connected and {} bytes of WAL behind", cell.lag_bytes))
}

async fn check_copy(
    pool: &PgPool,
    url: Option<&Secret>,
    membership: &Membership,
) -> Result<Vec<Finding>, Outage> {
    let subscription = cell_side::subscription(pool, &membership.subscription).await?;
    let mut findings = judge_subscription(membership, subscription.as_ref());
    let known = cell_side::echo(pool, &membership.cell_id).await?;
    let noted = membership.older_registry.as_ref();
    findings.extend(noted.map(|why| judge_older(membership, why)));
    let Some(url) = url else {
        findings.push(Finding::warning(
            "REGISTRY_URL is not set: the lag of the copy is not measured",
            "set REGISTRY_URL_FILE to a file with the URL of the registry",
        ));
        return Ok(findings);
    };
    match RegistryLink::open_registry(url).await {
        Err(Outage(why)) => findings.push(Finding::warning(
            format!("{why}: this cell decides by its copy"),
            "see whether the registry runs and is reachable; later revocations are not known here",
        )),
        Ok(mut link) => {
            let seen = link.overview_of(&membership.cell_id).await;
            link.close().await;
            findings.extend(judge_seen(membership, seen, known));
        }
    }
    Ok(findings)
}

/// What the registry says of this cell. `known` came back from it before.
fn judge_seen(
    membership: &Membership,
    seen: Result<Option<CellOverview>, Outage>,
    known: Option<DateTime<Utc>>,
) -> Vec<Finding> {
    let Membership { cell_id, registry, older_registry, .. } = membership;
    let cell = match seen {
        Err(Outage(why)) => return vec![Finding::warning(why, "check the role of REGISTRY_URL")],
        Ok(None) => {
            let what = format!("the registry {registry} does not know cell {cell_id}");
            return vec![Finding::error(what, JOIN_AGAIN)];
        }
        Ok(Some(cell)) => cell,
    };
    let newer = cell.is_older_than(known).filter(|_| older_registry.is_none());
    let mut findings: Vec<_> =
        newer.iter().map(|newer| judge_older(membership, &newer.sentence())).collect();
    match cell.slot_fault() {
        Some(fault) => findings.push(Finding::error(
            format!("this cell does not receive the registry {registry}: {fault}"),
            JOIN_AGAIN,
        )),
        None if findings.is_empty() => findings
            .push(Finding::ok(format!("the copy is {} bytes of WAL behind", cell.lag_bytes))),
        None => {}
    }
    findings
}

fn judge_older(membership: &Membership, why: &str) -> Finding {
    Finding::error(
        older_registry(&membership.registry, why),
        "make up at the registry for what it lost, or name the registry that is current; then, in the cell: stop Sluice, \
         `sluice cell leave --force`, `sluice cell join NAME --replace --yes`, which names what is still missing there",
    )
}

fn judge_subscription(membership: &Membership, state: Option<&SubscriptionState>) -> Vec<Finding> {
    let Some(state) = state else {
        return vec![Finding::error(
            format!("the subscription {} of this cell does not exist", membership.subscription),
            JOIN_AGAIN,
        )];
    };
    let mut findings = Vec::new();
    if state.errors > 0 {
        findings.push(Finding::warning(
            format!("{} changes of the registry failed here, and were tried again", state.errors),
            "read the log of the cell's Postgres; it names the row. A row that was written here by hand is in the way",
        ));
    }
    findings.push(if !state.is_running {
        Finding::error(
            format!("the subscription {} does not run", membership.subscription),
            "the log of the cell's Postgres says why; it starts again by itself when the cause is gone",
        )
    } else if state.copying > 0 {
        let what = format!("{} tables of the registry are still being copied", state.copying);
        Finding::warning(what, "wait: `sluice cell status` shows how far it is")
    } else {
        let Membership { cell_id, registry, .. } = membership;
        Finding::ok(format!("this database is cell {cell_id} of the registry {registry}"))
    });
    findings
}
