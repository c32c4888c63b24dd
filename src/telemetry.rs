//! Logs and metrics of the daemon. No payload, token or password reaches either, and no label has a
//! value that a device chooses.
//!
//! In reading order: [`logs`] sets up the log, [`log_writer`] writes its lines without blocking the
//! caller. [`declare`] has the macro that declares metrics, each wing has a file of its own metrics,
//! and [`metrics`] registers and renders all of them.

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
pub mod revocation;
pub mod store;
