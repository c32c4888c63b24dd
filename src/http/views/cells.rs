//! Views of cells: at a registry its cells and their authorities, in a cell its copy of the registry.
//!
//! They contain no URL and no password.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pki::authority::end::AuthorityEnd;
use crate::store::cells::registry_side::CellOverview;

/// What this database is, and its cells or its registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Cells")]
pub(crate) struct CellsView {
    /// `alone`: its own registry without cells; `registry`: it has cells; `cell`: its registry is a copy.
    pub role: String,
    /// At a registry, its cells.
    pub cells: Vec<RegisteredCellView>,
    /// In a cell, its copy of the registry; null elsewhere.
    pub copy: Option<RegistryCopyView>,
    /// The authorities in `CELL_AUTHORITIES_DIR`, which sign certificates by name.
    pub authorities: Vec<CellAuthorityView>,
    /// Why the directory could not be read; null if it was, or is not set.
    pub authorities_fault: Option<String>,
}

/// A cell of this registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RegisteredCell")]
pub(crate) struct RegisteredCellView {
    /// The name of the cell.
    pub cell: String,
    /// Its replication slot here.
    pub slot: String,
    /// When it joined.
    pub joined_at: DateTime<Utc>,
    /// When its Sluice last wrote a sign of life here.
    pub seen_at: DateTime<Utc>,
    /// How long ago that is, in seconds.
    pub seen_seconds: f64,
    /// Whether its Postgres is connected.
    pub connected: bool,
    /// What Postgres says of the WAL of the slot: `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// The WAL that is kept for it, in bytes.
    pub wal_held_bytes: i64,
    /// The WAL that it has not confirmed, in bytes.
    pub lag_bytes: i64,
    /// Why the cell can never catch up and must join again; null if it can.
    pub slot_fault: Option<String>,
}

/// The copy of the registry in this cell.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryCopy")]
pub(crate) struct RegistryCopyView {
    /// The name of this cell.
    pub cell: String,
    /// The host, the port and the database of the registry.
    pub registry: String,
    /// When the cell joined.
    pub joined_at: DateTime<Utc>,
    /// Whether the registry answers and its changes arrive, as of the last round of the daemon.
    pub connected: bool,
    /// How far the copy is behind, in seconds, as of the last round of the daemon.
    pub lag_seconds: f64,
    /// Tables whose first copy is not complete.
    pub copying: i64,
    /// When the last sign of life came back from the registry.
    pub last_sign_of_life_at: Option<DateTime<Utc>>,
    /// What is wrong, as in readiness; null if nothing is.
    pub trouble: Option<String>,
}

/// An authority in `CELL_AUTHORITIES_DIR`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CellAuthority")]
pub(crate) struct CellAuthorityView {
    /// Its name, as in `authority` of a request.
    pub name: String,
    /// When its certificate ends; null if it cannot be used.
    pub not_after: Option<DateTime<Utc>>,
    /// What a person must know: it ends soon, has ended, or cannot be used.
    pub warning: Option<String>,
}

// === impl RegisteredCellView ===

impl From<CellOverview> for RegisteredCellView {
    fn from(cell: CellOverview) -> Self {
        let slot_fault = cell.slot_fault().map(str::to_owned);
        Self {
            cell: cell.cell_id,
            slot: cell.slot,
            joined_at: cell.joined_at,
            seen_at: cell.seen_at,
            seen_seconds: cell.seen_seconds,
            connected: cell.is_active,
            wal_status: cell.wal_status,
            wal_held_bytes: cell.held_bytes,
            lag_bytes: cell.lag_bytes,
            slot_fault,
        }
    }
}

// === impl CellAuthorityView ===

impl CellAuthorityView {
    /// The view of one end.
    pub(crate) fn of(name: String, end: AuthorityEnd) -> Self {
        let (not_after, warning) = match end {
            AuthorityEnd::Far(end) => (Some(end.to_utc()), None),
            AuthorityEnd::Near(end, why) | AuthorityEnd::Past(end, why) => {
                (Some(end.to_utc()), Some(why))
            }
            AuthorityEnd::Unknown(why) => (None, Some(why)),
        };
        Self { name, not_after, warning }
    }
}

#[cfg(test)]
mod tests {
    use super::super::day;
    use super::*;

    #[test]
    fn the_json_of_a_cell() {
        let cell = CellOverview {
            cell_id: "north".to_owned(),
            slot: "sluice_north".to_owned(),
            joined_at: day(1),
            seen_at: day(2),
            seen_seconds: 3.5,
            has_slot: true,
            is_active: false,
            wal_status: Some("lost".to_owned()),
            held_bytes: 0,
            lag_bytes: 9,
        };
        assert_eq!(
            serde_json::to_string(&RegisteredCellView::from(cell)).unwrap(),
            concat!(
                r#"{"cell":"north","slot":"sluice_north","joined_at":"2026-11-01T00:00:00Z","#,
                r#""seen_at":"2026-11-02T00:00:00Z","seen_seconds":3.5,"connected":false,"wal_status":"lost","#,
                r#""wal_held_bytes":0,"lag_bytes":9,"slot_fault":"the registry has removed WAL that the cell needs "#,
                r#"(max_slot_wal_keep_size)"}"#
            )
        );
    }
}
