//! Postgres: the rows of the spine, the registry, the quarantine. The only group that names sqlx.
//!
//! It decides nothing about a message; it stores what it is given, finds what it is asked for, and tells trouble of the data
//! from trouble of the database. The way of a batch: [`sink`], then [`readings`] (or [`staging`]), [`state`], [`commands`],
//! [`quarantine_rows`], or all of a small one in [`mixed`]; what was decided before is found by [`decided`]; what the database will not take is singled out by [`poison`].

pub mod audit;
mod backend;
pub mod broker_acl;
pub mod broker_sessions;
pub mod certificate_changes;
pub mod certificate_keeping;
pub mod certificates;
pub mod clocks;
mod columns;
pub mod commands;
pub mod connect;
pub mod copy;
pub mod daily;
mod decided;
pub mod devices;
pub mod directory;
mod doubt;
pub mod fleet;
mod guard;
pub mod guests;
pub mod inspect;
pub mod inspect_schema;
pub mod listen;
pub mod logins;
pub mod migrate;
mod mixed;
pub mod partitions;
pub mod poison;
pub mod probe;
pub mod quarantine;
pub mod quarantine_rows;
pub mod readback;
pub mod readings;
pub mod relay;
pub mod replicas;
pub mod retention;
pub mod revocations;
pub mod schema_objects;
pub mod session;
pub mod sink;
pub mod staging;
pub mod state;
pub mod telemetry;
pub mod tenants;
pub mod token;
pub mod trouble;
