//! Logs and metrics of the daemon. No payload, token or password reaches either, and no label has a
//! value that a device chooses.
//!
//! In reading order: [`logs`] sets up the log, [`log_writer`] writes its lines without blocking the
//! caller. [`declare`] has the macro that declares metrics, each wing has a file of its own metrics,
//! and [`metrics`] registers and renders all of them; [`pulse`] keeps what they showed in the last hour.

pub mod broker;
pub(crate) mod broker_acl;
pub(crate) mod cells;
pub(crate) mod certificates;
pub(crate) mod console;
pub(crate) mod declare;
pub(crate) mod device_errors;
pub mod downlink;
pub(crate) mod est;
pub(crate) mod exchange;
pub(crate) mod guests;
pub(crate) mod hooks;
pub(crate) mod http;
pub(crate) mod ingest;
pub(crate) mod isolation;
pub(crate) mod issuer_keys;
pub mod link_ingest;
pub mod links;
pub mod live;
pub(crate) mod log_writer;
pub(crate) mod logs;
pub mod metrics;
pub(crate) mod mqtt_api;
pub mod plugin;
pub(crate) mod pulse;
pub(crate) mod replays;
pub(crate) mod replicas;
pub(crate) mod revocation;
pub(crate) mod store;
