//! Fixtures of the tests. Servers: `postgres`, `database`, `mosquitto`, `process`, `port`, `dir`.
//! Sluice: `daemon`, and `test_daemon` with its servers.
//!
//! Clients: `device` records what the broker accepted, `proxy` breaks connections. Time: `wait`,
//! `time_bounds`. Nothing here knows what Sluice should do; the tests state that.
#![allow(
    dead_code,
    reason = "a fixture offers what its server can do, also what no test needs at the moment"
)]

pub mod browser;
pub mod daemon;
pub mod database;
pub mod device;
pub mod dir;
pub mod mosquitto;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod test_daemon;
pub mod time_bounds;
pub mod wait;
