//! What this database is: alone, a registry with cells, or a cell.
//!
//! It reads one row and changes nothing.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

const MEMBERSHIP: &str = "SELECT cell_id, registry, registry_id, subscription, joined_at, older_registry FROM cell WHERE left_at IS NULL";

const HAS_CELLS: &str = "SELECT EXISTS (SELECT FROM cells)";

/// What a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellRole {
    /// The usual: its own registry, and no cell.
    Alone,
    /// The registry of cells.
    Registry,
    /// A cell.
    Cell(Membership),
}

/// The registry that a cell belongs to.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Membership {
    /// The name of the cell.
    pub cell_id: String,
    /// Host, port and database of the registry.
    pub registry: String,
    /// Which database that is.
    pub registry_id: String,
    /// The name of the subscription, and of the slot.
    pub subscription: String,
    /// When it joined.
    pub joined_at: DateTime<Utc>,
    /// What showed that the registry is older than this copy.
    pub older_registry: Option<String>,
}

/// Reads what this database is.
pub async fn role(pool: &PgPool) -> Result<CellRole, Outage> {
    if let Some(membership) = membership(pool).await? {
        return Ok(CellRole::Cell(membership));
    }
    let has_cells: bool = answer(sqlx::query_scalar(HAS_CELLS).fetch_one(pool)).await?;
    Ok(if has_cells { CellRole::Registry } else { CellRole::Alone })
}

/// Reads the registry that this cell belongs to; `None` means that it is no cell.
pub async fn membership(pool: &PgPool) -> Result<Option<Membership>, Outage> {
    Ok(answer(sqlx::query_as(MEMBERSHIP).fetch_optional(pool)).await?)
}
