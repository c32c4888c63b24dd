//! The settings, one area a file: each turns the values of its area into a type that cannot be wrong.
//!
//! An area knows its own settings only; what must hold between areas is checked in `load/cross_checks`.

pub mod access;
pub mod broker;
pub mod broker_acl;
pub mod certificates;
pub mod database;
pub mod http;
pub mod ingest;
pub mod issuer;
mod issuer_list;
mod names;
pub mod process;
pub mod public;
