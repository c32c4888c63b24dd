//! The endpoints of the API, one resource a file. The table in `api/routes` names each of them.

pub mod ca;
pub mod certificates;
pub mod devices;
pub mod explain;
pub mod quarantine;
pub mod revocations;
pub mod telemetry;
pub mod tenants;
