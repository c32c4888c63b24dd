//! Queries of the API and the command line: [`telemetry`] and [`quarantine`] by filter;
//! [`simulation_readback`] after a simulation.
//!
//! They write nothing but the marks of a replay or a discard.

pub mod quarantine;
pub(crate) mod simulation_readback;
pub(crate) mod telemetry;
