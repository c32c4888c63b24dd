//! The chain of a revocation, from the row to the proof, on the broker of `compose/`.

mod chain;
mod clocks;
pub mod site;
mod waited;
