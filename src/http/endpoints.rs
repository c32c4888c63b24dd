//! The endpoints of the API, one resource in a file; the table in `http/api/routes.rs` names each
//! of them.
//!
//! Read it in the order of the resources: [`tenants`], [`devices`], [`telemetry`], [`quarantine`],
//! [`explain`], [`certificates`], [`revocations`], [`ca`]. An endpoint contains no SQL.

pub mod ca;
pub mod certificates;
pub mod devices;
pub mod explain;
pub mod quarantine;
pub mod revocations;
pub mod telemetry;
pub mod tenants;
