//! The Mosquitto plugin of Sluice: it decides in the broker, and gives each message the proof of its
//! publisher.
//!
//! Read it in this order:
//!
//! 1. [`ffi`] is what the broker calls: callbacks without a decision of their own;
//! 2. [`options`] reads the lines `plugin_opt_` of the broker's configuration;
//! 3. [`instance`] is one instance of the plugin, [`shared`] and [`state`] what its two threads share;
//! 4. [`login`] decides logins, [`topics`] topics and proofs, [`properties`] puts the proofs in;
//! 5. [`link`] is the connection to the daemon, which sends the [`registry`] and the policy.
//!
//! The broker has one thread: nothing here waits for more than `ask_ms`, and only at a login.

mod clock;
pub mod decisions;
mod delayed;
pub mod ffi;
pub mod instance;
mod link;
pub mod log;
pub mod login;
pub mod options;
#[cfg(test)]
mod options_tests;
pub mod pipe;
pub mod properties;
pub mod registry;
pub mod request;
pub mod sessions;
#[cfg(test)]
mod sessions_tests;
pub mod shared;
pub mod state;
pub mod topics;
