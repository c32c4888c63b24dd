//! The chain of a revocation, from the row to the proof, on the broker of `compose/`.

mod chain;
mod clocks;
mod endings;
mod isolation;
mod large;
mod lost;
pub mod revocation_stack;
mod waited;
