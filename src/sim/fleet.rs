//! Who publishes in a simulation: the devices, their certificates, their payloads, and how some of them misbehave.

pub mod certificates;
pub mod demo_faults;
pub mod demo_fleet;
pub mod device_listener;
pub mod load_fleet;
pub mod payload;
