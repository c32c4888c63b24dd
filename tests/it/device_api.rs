//! Requests of devices over MQTT: real devices at a real broker with the shipped access rules.

mod answers;
mod budget;
mod faults;
mod latency;
mod registry;
mod replicas;
pub mod requester;
pub mod rig;
mod topics;
