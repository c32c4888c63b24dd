//! What the daemon tells: logs and metrics.
//!
//! No payload, token or password ever reaches either; no label is one a device can choose.

pub mod access;
pub mod broker;
pub mod broker_acl;
pub mod door;
pub mod guests;
pub mod http;
pub mod ingest;
pub mod isolation;
pub mod log_writer;
pub mod logs;
pub mod metrics;
pub mod registry;
pub mod revocation;
pub mod spell;
pub mod store;
