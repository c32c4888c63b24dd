//! What the tests stand on: servers of their own, a proxy that breaks connections, a device that keeps the broker's
//! word, and waiting for conditions.
//!
//! Nothing here knows what Sluice should do; that is said in the tests.

pub mod database;
pub mod dir;
pub mod mosquitto;
pub mod port;
pub mod postgres;
pub mod process;
pub mod wait;
