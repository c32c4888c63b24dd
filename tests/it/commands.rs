//! The commands as an operator runs them: arguments, output, exit codes.

pub mod access;
pub mod ca;
pub mod cli;
pub mod demo;
pub mod doctor;
pub mod downlink;
pub mod import;
pub mod links;
pub mod quarantine;
mod quarantine_replays;
pub mod registry;
pub mod simulate;
