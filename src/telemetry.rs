//! What the daemon tells: logs and metrics.
//!
//! No payload, token or password ever reaches either; no label is one a device can choose.

pub mod broker;
pub mod broker_acl;
pub mod certificates;
pub mod declare;
pub mod guests;
pub mod hooks;
pub mod http;
pub mod ingest;
pub mod isolation;
pub mod issuer_keys;
pub mod log_writer;
pub mod logs;
pub mod metrics;
pub mod outage_log;
pub mod revocation;
pub mod store;
