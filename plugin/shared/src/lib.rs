//! What the daemon and the broker's plugin must agree on.
//!
//! 1. [`ids`], [`client_ids`], [`time`](mod@time), [`probe`]: names and points in time;
//! 2. [`subject`]: the authenticated sender of a request;
//! 3. [`policy`]: what it may do. The hooks and the plugin call the same function, so they cannot disagree;
//! 4. [`frames`]: the messages between the plugin and the daemon;
//! 5. [`proof`]: the proof of a message's publisher, made by the plugin and verified by the daemon.
//!
//! It does no IO, reads no clock, and has no `unsafe` code.

pub mod client_ids;
pub mod frames;
pub mod ids;
pub mod policy;
pub mod probe;
pub mod proof;
#[cfg(test)]
mod proof_tests;
pub mod subject;
pub mod time;
