//! The session with the broker: against a real Mosquitto, and against a scripted peer for what
//! Mosquitto never does.

mod bench;
mod memory;
pub mod peer;
mod refusals;
mod reliability;
pub mod sessions;
mod tls;
mod tokens;
