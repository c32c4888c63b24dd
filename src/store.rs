//! Postgres: the rows of the spine, the registry, the quarantine. The only group that names sqlx.
//!
//! It decides nothing about a message; it stores what it is given, finds what it is asked for, and tells trouble of the data
//! from trouble of the database.

pub mod audit;
pub mod devices;
pub mod listen;
pub mod partitions;
pub mod quarantine;
pub mod tenants;
