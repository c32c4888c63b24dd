//! Sluice, the telemetry gate beside Mosquitto. Read it in this order and you follow one message from the broker to
//! the table, and its acknowledgement back:
//!
//! 1. [`app`] wires the daemon; everything below is started there, in order.
//! 2. [`broker`] holds the connection to Mosquitto and hands out deliveries.
//! 3. [`ingest`] is the spine: parse, authorize, batch, write; only then acknowledge.
//! 4. [`store`] is Postgres: the rows, the registry, the quarantine.
//!
//! Around the spine: [`domain`] names things, [`config`] reads the settings, [`telemetry`] tells what happens,
//! [`lifecycle`] starts and stops, [`pki`] signs certificates, [`registry`] decides about them and sees revocations through
//! to the broker, [`access`] judges who may do what there, [`http`] answers the operator, [`cli`] is the command line.
//!
//! # Invariants
//! 1. No acknowledgement before the commit that stores the message.
//! 2. MQTT has no negative acknowledgement: a batch that failed is tried again in place, a poisoned message is quarantined.
//! 3. The task that reads the broker never awaits Postgres.
//! 4. An acknowledgement is void once the connection it belongs to has ended.
//! 5. Every queue has a bound, and that of the deliveries a gauge; every task is owned, and its death is noticed.
//! 6. Shutdown: stop taking, flush, acknowledge, disconnect, close.

pub mod access;
pub mod app;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod disk;
pub mod domain;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod pki;
pub mod registry;
pub mod sim;
pub mod store;
pub mod telemetry;
