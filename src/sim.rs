//! Simulated fleets: [`demo`] is `sluice demo`, [`load`] is `sluice simulate`, [`fleet`] is who publishes.
//!
//! It uses the daemon from outside, by MQTT, SQL and HTTP, as a device and an operator would.

pub mod daemon_metrics;
pub mod demo;
pub mod fleet;
pub mod load;
pub mod wait_for_crl;
