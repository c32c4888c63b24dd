//! Tests of the whole: the real binary between a real Mosquitto and a real Postgres, all started
//! here on free ports.
//!
//! They touch no server that is already running, wait for conditions and never for time, and leave
//! no process and no file behind, however they end.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the finding")]

mod api;
mod authority_end;
mod broker;
mod broker_acl;
mod cells;
mod certificates;
mod clocks;
mod commands;
mod compose;
mod console;
mod crowded;
mod device_api;
mod docs;
mod downlink;
mod engines;
mod est;
mod exchange;
mod faults;
mod fuzz_targets;
mod hooks;
mod links;
mod logging;
mod mqtt_api;
mod pipeline;
mod pki;
mod plugin;
mod plugin_link;
mod public;
mod replicas;
mod retention;
mod revocation;
mod service_manager;
mod settings;
mod store;
mod support;
mod support_checks;
mod tokens;
