//! The frames between the plugin and the daemon: four bytes of length, big-endian, then JSON.
//!
//! The plugin connects and sends [`FromPlugin::Hello`]; the daemon answers [`FromDaemon::Hello`], sends
//! the policy and a snapshot, and from then on numbered deltas. Either side closes the connection at a
//! frame that it cannot parse; the plugin then keeps its last whole snapshot.
//!
//! [`from_plugin`] and [`from_daemon`] are the frames, [`codec`] their bytes, [`secret`] a secret in one. It does no IO.

pub mod codec;
pub mod from_daemon;
pub mod from_plugin;
pub mod secret;

/// The version of the frames. Both sides send theirs, and close the connection if they differ.
pub const PROTOCOL: u32 = 1;

/// The most devices in one part of a snapshot.
pub const PART_DEVICES_MAX: usize = 1_000;

/// How often the daemon sends [`from_daemon::FromDaemon::Ping`].
pub const PING_SECONDS: u64 = 1;

/// How often the plugin sends [`from_plugin::FromPlugin::Stats`].
pub const STATS_SECONDS: u64 = 5;
