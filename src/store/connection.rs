//! Connections to Postgres: the pool, the writer's own connection, and the probe that finds a dead
//! server.
//!
//! They read and write no table of Sluice; the other folders of `store` do.
//!
//! Read it in this order:
//! 1. [`writer_connection`]: one connection, every answer bounded in time; [`copy_buffer`]: the
//!    rows of a COPY.
//! 2. [`database`]: the options from the settings, and the pool; `tls_fallback`: what sslmode prefer
//!    allows; [`engine`]: Citus, Timescale or neither.
//! 3. [`backend`] and [`write_guard`]: find and close a connection that carries nothing.
//! 4. [`nodelay_relay`]: TCP without Nagle's algorithm.
//! 5. [`health_probe`] and [`clocks`]: readiness of Postgres, and the difference of the clocks.

pub(crate) mod backend;
pub(crate) mod clocks;
pub(crate) mod copy_buffer;
pub mod database;
pub mod engine;
pub(crate) mod health_probe;
pub(crate) mod nodelay_relay;
mod tls_fallback;
pub(crate) mod write_guard;
pub(crate) mod writer_connection;
