//! Queries of the API and the command line: [`telemetry`], [`quarantine`] and [`audit`] by filter;
//! [`fleet`] in numbers; [`simulation_readback`] after a simulation.
//!
//! They write nothing but the marks of a replay or a discard.

pub(crate) mod audit;
pub(crate) mod fleet;
pub mod quarantine;
pub(crate) mod simulation_readback;
pub mod telemetry;
