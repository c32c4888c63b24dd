//! The demo's sum: what the simulated fleet published is in the database, row by row, also when it is run again.

use std::fs;

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::port;
use crate::support::postgres::Postgres;

/// Every reason the fleet gives cause for.
const REASONS: [&str; 13] = [
    "BAD_PAYLOAD",
    "BAD_TIMESTAMP",
    "BAD_TOPIC_FORMAT",
    "DEVICE_REVOKED",
    "PAYLOAD_TOO_LARGE",
    "RATE_LIMITED",
    "SITE_MISMATCH_REGISTRY_VS_PAYLOAD",
    "STORE_REJECTED",
    "TENANT_MISMATCH_TOPIC_VS_PAYLOAD",
    "TIMESTAMP_OUT_OF_RANGE",
    "TOKEN_INVALID",
    "TOKEN_MISSING",
    "UNREGISTERED_DEVICE",
];

fn count(database: &Database<'_>, table: &str) -> u64 {
    database.value(&format!("SELECT count(*) FROM {table}")).parse().unwrap()
}

/// Runs it for a moment; its summary.
fn run(settings: &Settings) -> Value {
    let arguments = ["demo", "--seconds", "3", "--devices", "6", "--rate", "600", "--log", "daemon.log"];
    let said = settings.run(&[&arguments[..], &["--output", "json"]].concat());
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(summary["adds_up"], true, "{summary}");
    assert_eq!(summary["reconnects"], 0, "{summary}");
    summary
}

#[test]
fn what_the_demo_publishes_is_in_the_database_and_running_it_again_goes_on_from_there() {
    let (broker, database) = (Mosquitto::start(MosquittoOptions::default()), Postgres::shared().empty_database());
    let settings = Settings::new(&broker, &database);
    let first = run(&settings);
    let number = |summary: &Value, name: &str| summary[name].as_u64().unwrap();
    let (stored, quarantined) = (count(&database, "telemetry"), count(&database, "quarantine_events"));
    assert_eq!((number(&first, "stored"), number(&first, "quarantined")), (stored, quarantined));
    assert!(number(&first, "duplicates") > 0, "{first}");
    assert_eq!(number(&first, "acknowledged"), stored + quarantined + number(&first, "duplicates"));
    let reasons = database.query("SELECT DISTINCT reason FROM quarantine_events ORDER BY reason");
    assert_eq!(reasons.concat(), REASONS);

    let devices = count(&database, "devices");
    let second = run(&settings);
    assert_eq!(count(&database, "telemetry"), stored + number(&second, "stored"));
    assert_eq!(count(&database, "devices"), devices);
    assert!(fs::read_to_string(settings.dir().path().join("daemon.log")).unwrap().contains("stopped"));
}

#[test]
fn without_a_broker_the_demo_says_so_at_once_and_starts_nothing() {
    let database = Postgres::shared().empty_database();
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let settings = settings.set("MQTT_HOST", "127.0.0.1").set("MQTT_PORT", &port::free().to_string());
    let output = settings.command(&["demo", "--log", "daemon.log"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("MQTT_PORT"), "{said}");
    assert!(!settings.dir().path().join("daemon.log").exists());
}
