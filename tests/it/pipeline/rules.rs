//! Every rule of what is accepted, good and bad, as the database shows it in the end: one daemon
//! for each set of settings, many messages, one wait.

pub mod acknowledged;
pub mod bounds;
pub mod certificates;
pub mod decisions;
pub mod newcomers;
pub mod once;
pub mod payloads;
pub mod proofs;
pub mod rate;
pub mod secrets;
pub mod topics;
