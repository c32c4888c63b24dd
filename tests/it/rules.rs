//! Every rule of what is accepted, good and bad, as the database shows it in the end: one daemon for each set of
//! settings, many messages, one wait.

mod acknowledged;
mod bounds;
mod certificates;
mod decisions;
mod newcomers;
mod once;
mod payloads;
mod rate;
mod secrets;
pub mod stage;
mod topics;
