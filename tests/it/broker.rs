//! The session with the broker: against a real Mosquitto, and against a scripted peer for what
//! Mosquitto never does.

mod leaving;
mod memory;
pub mod peer;
mod refusals;
mod reliability;
pub mod session_harness;
pub mod sessions;
pub mod tls;
pub mod tokens;
