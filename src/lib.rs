//! Sluice stores the telemetry that devices publish to Mosquitto. Read the modules in this order to
//! follow one message from the broker to the table, and its acknowledgement back:
//!
//! 1. [`app`] starts every component of the daemon, in order.
//! 2. [`broker`] keeps the connection to Mosquitto and delivers messages to the spine.
//! 3. [`ingest`] is the spine: parse, authorize, batch, write; only then acknowledge.
//! 4. [`store`] is Postgres: rows, registry, quarantine.
//!
//! Around the spine: [`domain`] has the types that the others share, [`config`] reads the settings,
//! [`telemetry`] has metrics and logs, [`lifecycle`] starts and stops tasks, [`clock`] reads the
//! time, [`disk`] reads files, [`tls_roots`] the authorities that Sluice trusts, [`web_request`] sends
//! one HTTP request. Outside the spine:
//! [`pki`] signs certificates, [`registry`] issues and revokes them, [`access`] decides what a
//! client may do at the broker, [`quarantine`] replays and discards refused messages, [`downlink`]
//! publishes commands and desired documents to devices, [`link`] connects to other brokers and
//! clouds, `plugin_link` serves the plugin of the broker, `doctor` examines all of it, [`http`] serves the API, the hooks and the ops endpoints, [`console`] the pages for a browser, and
//! [`mqtt_api`] answers requests over MQTT. For the operator: [`cli`] is the command line, [`command`] what its commands share,
//! [`sim`] the simulated fleets.
//!
//! # Invariants
//! 1. A message is acknowledged only after the commit that stores it.
//! 2. MQTT has no negative acknowledgement: a failed batch is retried, and a message the database
//!    refuses is quarantined.
//! 3. The task that reads the broker never awaits Postgres.
//! 4. An acknowledgement is void once its connection has ended.
//! 5. Every queue has a bound, and the queue of deliveries has a gauge. Every task has an owner,
//!    who notices its end.
//! 6. Shutdown: stop reading, flush, acknowledge, disconnect, close.

pub mod access;
mod app;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod console;
mod disk;
mod doctor;
pub mod domain;
pub mod downlink;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod link;
pub mod mqtt_api;
pub mod pki;
mod plugin_link;
mod quarantine;
pub mod registry;
mod sim;
pub mod store;
pub mod telemetry;
mod tls_roots;
mod web_request;
