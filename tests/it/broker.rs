//! The session with the broker: against a real Mosquitto, and against a scripted peer for what
//! Mosquitto never does.

mod memory;
pub mod peer;
mod refusals;
mod reliability;
mod session_harness;
pub mod sessions;
mod tls;
mod tokens;
