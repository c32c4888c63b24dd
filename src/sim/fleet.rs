//! The devices of a simulation. Both commands use one [`simulated_fleet`] of [`device`]s, which
//! publish [`payload`]s according to their [`payload_profile`].
//!
//! [`demo_fleet`] is the fleet of the demo, with the [`device_messages`] of each device;
//! [`load_fleet`] is that of `simulate`. Both use [`certificates`] and connect to the
//! [`device_listener`]. Nothing here decides when a device publishes.

pub(crate) mod certificates;
pub(crate) mod demo_fleet;
pub(crate) mod device;
pub(crate) mod device_listener;
pub(crate) mod device_messages;
pub(crate) mod load_fleet;
pub(crate) mod payload;
pub(crate) mod payload_profile;
pub(crate) mod simulated_fleet;
