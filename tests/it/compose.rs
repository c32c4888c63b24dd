//! The files people run Sluice with: `compose/` and the scripts that make authorities and try
//! devices.
//!
//! There is no container engine here (`scripts/compose-check` has one): the same configuration,
//! access rules and scripts are run by a Mosquitto and a Postgres of the test's own, with nothing but
//! paths, ports and the user changed.

mod access_rules;
mod alarms;
mod authority;
mod crl;
mod data_dashboard;
mod device_script;
mod engine_files;
mod health;
mod listeners;
mod plugin_stack;
pub mod stack;
mod stackfile;
