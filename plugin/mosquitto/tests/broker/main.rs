//! The plugin in a real Mosquitto, with a daemon that the test scripts frame by frame.
//!
//! The daemon's own side is tested in `tests/it/plugin_link`, and both together in `tests/it/plugin`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the finding")]

mod certificates;
mod client;
mod daemon;
mod failures;
mod identities;
mod logins;
mod mosquitto;
mod sessions;
mod stamps;
mod wait;
mod wills;
