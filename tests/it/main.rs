//! Tests of the whole: the real binary between a real Mosquitto and a real Postgres, all started here on free ports.
//!
//! They touch no server that is already running, wait for conditions and never for time, and leave no process and no
//! file behind, however they end.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the finding")]

mod access;
mod access_commands;
mod api;
mod authority_end;
mod broker;
mod broker_acl;
mod ca;
mod certificates;
mod changes;
mod cli;
mod clocks;
mod compose;
mod crowded;
mod demo;
mod doctor;
mod faults;
mod fixtures;
mod flood;
mod growth;
mod guests;
mod jwt;
mod listen;
mod logging;
mod oddities;
mod partitions;
mod pki;
mod quarantine_commands;
mod registry_commands;
mod replicas;
mod retention;
mod revocation;
mod rules;
mod sessions;
mod settings;
mod simulate;
mod stopping;
mod store;
mod support;
