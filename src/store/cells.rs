//! Cells: one registry database, and cells that have a copy of it by logical replication.
//!
//! [`membership`] says what this database is: alone, a registry, or a cell. [`registry_link`] is a
//! connection to the registry, [`registry_url`] its URL as text, [`registry_side`] what is read and written there, [`cell_side`] what is
//! read and written in the cell, [`contents`] compares the rows of both, [`age`] which of them is older. [`inspect`] has the findings of
//! the doctor. Postgres replicates; Sluice creates what it needs and looks at it.
//!
//! The password of the registry stands in the setting `REGISTRY_URL` and in `pg_subscription`, which only
//! a superuser of the cell's Postgres reads. It is in no table, error or log of Sluice.

pub mod age;
pub mod cell_side;
pub mod contents;
pub mod inspect;
pub mod membership;
pub mod registry_link;
pub mod registry_side;
pub mod registry_url;
mod subscribe;

use crate::domain::ports::Outage;

/// The publication at the registry.
pub const PUBLICATION: &str = "sluice_registry";

/// The tables that come from the registry, in the order of their foreign keys.
pub const REPLICATED: [&str; 5] =
    ["tenants", "devices", "device_certificates", "revoked_certificates", "cells"];

/// Tables that only the registry may write; a cell has no copy of the last three.
pub const GUARDED: [&str; 8] = [
    "tenants",
    "devices",
    "device_certificates",
    "revoked_certificates",
    "cells",
    "certificate_serials",
    "enrolment_codes",
    "enrolment_uses",
];

/// The oldest Postgres on both sides, as `server_version_num`: older ones do not send the notifications
/// of a replicated change.
pub const OLDEST: i32 = 150_000;

/// Why a cell does not join, leave, or tell its state.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// A condition does not hold: one sentence for the operator.
    #[error("{0}")]
    Refused(String),
    /// A database failed.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// The slot at the registry and the subscription in the cell have one name.
pub fn slot_of(cell_id: &str) -> String {
    format!("sluice_{cell_id}")
}

/// The statement that makes the publication.
pub fn publication_statement() -> String {
    format!(
        "CREATE PUBLICATION {PUBLICATION} FOR TABLE {} WITH (publish = 'insert, update, delete')",
        REPLICATED.join(", ")
    )
}
