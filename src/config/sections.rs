//! The settings, one file per area: its rows of the table, and the type that holds their checked
//! values.
//!
//! An area knows only its own settings; [`super::load::cross_checks`] checks what must hold between
//! areas.

pub(crate) mod access;
pub mod broker;
pub(crate) mod broker_acl;
pub mod certificates;
pub mod console;
pub mod database;
pub mod downlink;
pub mod est;
pub(crate) mod http;
pub(crate) mod ingest;
pub mod issuer;
mod issuer_list;
pub(crate) mod links;
pub mod mqtt_api;
mod names;
pub mod plugin;
pub(crate) mod process;
pub(crate) mod public;
pub mod replica;
