//! Postgres: the rows of the spine, the registry, the quarantine. The only group that names sqlx.
//!
//! It decides nothing about a message; it stores what it is given, finds what it is asked for, and tells trouble of the data
//! from trouble of the database. The way of a batch: [`sink`], then [`readings`] (or [`staging`]), [`state`], [`commands`],
//! [`quarantine_rows`], or all of a small one in [`mixed`]; what was decided before is found by [`decided`]; what the database will not take is singled out by [`poison`].

pub mod access;
pub mod batch;
pub mod certificates;
pub mod connection;
pub mod error;
pub mod reads;
pub mod registry;
pub mod schema;
