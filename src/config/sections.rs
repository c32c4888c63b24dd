//! The settings, one file per area: its rows of the table, and the type that holds their checked
//! values.
//!
//! An area knows only its own settings; [`super::load::cross_checks`] checks what must hold between
//! areas.

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
