//! Connections to Postgres: the pool, the writer's own connection, and the probe that finds a dead server.
//!
//! They run no statement of the product; the other folders of `store` do.

pub mod backend;
pub mod clocks;
pub mod database;
pub mod health_probe;
pub mod nodelay_relay;
pub mod write_guard;
pub mod writer_connection;
