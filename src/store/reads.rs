//! Queries for people: telemetry and quarantine by filter, and the read-back of a simulation.
//!
//! They write nothing but the marks of a replay or a discard.

pub mod quarantine;
pub mod simulation_readback;
pub mod telemetry;
