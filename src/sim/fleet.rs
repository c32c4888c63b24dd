//! The devices of a simulation. The demo's: [`demo_fleet`], with [`demo_faults`] and
//! [`demo_message`].
//!
//! Those of `simulate`: [`load_fleet`] and its [`payload`]s. Both use [`certificates`] and connect
//! to the [`device_listener`]. Nothing here decides when a device publishes.

pub mod certificates;
pub mod demo_faults;
pub mod demo_fleet;
pub mod demo_message;
pub mod device_listener;
pub mod load_fleet;
pub mod payload;
