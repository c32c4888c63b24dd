//! The devices of a simulation. Both commands use one [`simulated_fleet`] of [`device`]s, which
//! publish [`payload`]s according to their [`payload_profile`].
//!
//! [`demo_fleet`] is the fleet of the demo, with the [`device_messages`] of each device;
//! [`load_fleet`] is that of `simulate`. Both use [`certificates`] and connect to the
//! [`device_listener`]; [`device_client`] is a device that sends requests and answers commands, and
//! [`renewal`] renews its certificate. Nothing here decides when a device publishes.

pub(crate) mod certificates;
pub(crate) mod demo_fleet;
pub(crate) mod device;
pub(crate) mod device_client;
pub(crate) mod device_listener;
pub(crate) mod device_messages;
pub(crate) mod load_fleet;
pub(crate) mod payload;
pub(crate) mod payload_profile;
pub(crate) mod renewal;
pub(crate) mod simulated_fleet;
