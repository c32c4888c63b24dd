//! The devices of a simulation. Both commands use one [`simulated_fleet`] of [`device`]s, which
//! publish [`payload`]s according to their [`payload_profile`].
//!
//! [`demo_fleet`] is the fleet of the demo, with the [`device_messages`] of each device;
//! [`load_fleet`] is that of `simulate`. Both use [`certificates`] and connect to the
//! [`device_listener`]. Nothing here decides when a device publishes.

pub mod certificates;
pub mod demo_fleet;
pub mod device;
pub mod device_listener;
pub mod device_messages;
pub mod load_fleet;
pub mod payload;
pub mod payload_profile;
pub mod simulated_fleet;
