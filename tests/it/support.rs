//! What the tests stand on: servers of their own, a proxy that breaks connections, a device that remembers what the
//! broker took over, and waiting for conditions.
//!
//! Nothing here knows what Sluice should do; that is said in the tests.
#![allow(dead_code, reason = "a fixture offers what its server can do, also what no test needs at the moment")]

pub mod daemon;
pub mod database;
pub mod device;
pub mod dir;
pub mod mosquitto;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod time_bounds;
pub mod wait;
