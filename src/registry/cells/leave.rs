//! Leaves the registry: the subscription and the triggers go, the rows stay, and the slot at the registry
//! is dropped.
//!
//! Without the registry it leaves only when that is forced, and says what is left to do there.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::secret::Secret;
use crate::domain::ports::Outage;
use crate::store::cells::CellError;
use crate::store::cells::cell_side;
use crate::store::cells::membership::{self, Membership};
use crate::store::cells::registry_link::RegistryLink;
use crate::store::connection::database::Database;

/// The registry ends its process for the cell within this time.
const SLOT_PATIENCE: Duration = Duration::from_secs(15);
/// Time between two attempts to drop the slot.
const PERIOD: Duration = Duration::from_millis(200);

/// How to leave.
#[derive(Debug)]
pub struct LeaveRequest<'a> {
    /// `REGISTRY_URL`, if set.
    pub url: Option<&'a Secret>,
    /// A role that may drop the subscription: a superuser, or its owner.
    pub admin_url: &'a Secret,
    /// The source of that URL.
    pub admin_source: &'static str,
    /// Whether to leave although the registry cannot be reached.
    pub force: bool,
}

/// How a cell left.
#[derive(Debug)]
pub struct Left {
    /// The registry that it left.
    pub membership: Membership,
    /// What is left to do at the registry, and why.
    pub left_to_do: Option<(String, Vec<String>)>,
}

/// Leaves the registry.
pub async fn leave(database: &Database, request: LeaveRequest<'_>) -> Result<Left, CellError> {
    let pool = database.pool();
    let Some(membership) = membership::membership(pool).await? else {
        return Err(CellError::Refused(
            "this database is no cell: there is nothing to leave".to_owned(),
        ));
    };
    let state = cell_side::state(pool).await?;
    let mut registry = match open(&request).await {
        Ok(registry) => Ok(registry),
        Err(why) if request.force => Err(why),
        Err(why) => {
            return Err(CellError::Refused(format!(
                "nothing was changed: {why}; with --force the cell leaves, and the slot stays at the registry"
            )));
        }
    };
    let subscription = cell_side::subscription(pool, &membership.subscription).await?;
    let mut cell =
        RegistryLink::open(request.admin_url, "the cell's Postgres", request.admin_source).await?;
    let name = subscription.is_some().then_some(membership.subscription.as_str());
    cell_side::leave(&mut cell, &state.schema.unwrap_or_default(), name).await?;
    cell.close().await;
    let dropped = match &mut registry {
        Ok(registry) => drop_slot(registry, &membership).await.map_err(|Outage(why)| why),
        Err(why) => Err(why.clone()),
    };
    if let Ok(registry) = registry {
        registry.close().await;
    }
    let left_to_do = dropped.err().map(|why| (why, statements(&membership)));
    Ok(Left { membership, left_to_do })
}

// --- private helpers ---

async fn open(request: &LeaveRequest<'_>) -> Result<RegistryLink, String> {
    let Some(url) = request.url else { return Err("REGISTRY_URL is not set".to_owned()) };
    RegistryLink::open_registry(url).await.map_err(|Outage(why)| why)
}

async fn drop_slot(registry: &mut RegistryLink, membership: &Membership) -> Result<(), Outage> {
    let deadline = Instant::now() + SLOT_PATIENCE;
    loop {
        match registry.remove_cell(&membership.cell_id, &membership.subscription).await {
            Err(_) if Instant::now() < deadline => sleep(PERIOD).await,
            done => return done,
        }
    }
}

fn statements(membership: &Membership) -> Vec<String> {
    vec![
        format!("SELECT pg_drop_replication_slot('{}')", membership.subscription),
        format!("DELETE FROM cells WHERE cell_id = '{}'", membership.cell_id),
    ]
}
