//! The doctor sends messages of its own through a share group: what a broker grants is no proof.

use serde_json::Value;

use super::group::{Group, run};
use super::plain_broker::PlainBroker;
use crate::support::daemon::Settings;

/// The finding of the share group, and the text of all.
fn share_finding(settings: &Settings) -> (Value, String) {
    let (_, stdout, stderr) = run(settings, &["doctor", "--output", "json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|row| row["check"] == "broker share group");
    (found.cloned().unwrap_or_default(), format!("{report:#}"))
}

#[test]
fn a_broker_that_grants_a_share_group_and_delivers_nothing_is_named() {
    let broker = PlainBroker::start();
    let settings = Settings::empty()
        .set("MQTT_HOST", "127.0.0.1")
        .set("MQTT_PORT", &broker.port().to_string())
        .set("DATABASE_URL", "postgres://sluice:x@127.0.0.1:1/none")
        .set("MQTT_SHARE_GROUP", "g");
    let (finding, report) = share_finding(&settings);
    assert_eq!(finding["level"], "error", "{report}");
    let says = finding["finding"].as_str().unwrap();
    assert!(says.contains("grants shared subscriptions and delivers nothing"), "{says}");
}

#[test]
fn mosquitto_shares_and_the_members_receive_nothing_of_the_probe_as_rows() {
    let group = Group::new();
    let [(settings, daemon), _other] = group.members::<2>();
    let (finding, report) = share_finding(&settings);
    assert_eq!(finding["level"], "ok", "{report}");
    let says = finding["finding"].as_str().unwrap();
    assert!(says.contains("two members received 2 and 2"), "{says}");
    daemon.wait_metric("sluice_messages_total{result=\"ignored\"}", 1.0);
    for table in ["telemetry", "quarantine_events"] {
        assert_eq!(group.database.value(&format!("SELECT count(*) FROM {table}")), "0");
    }
    let (finding, _) = share_finding(&settings.set("MQTT_SHARE_GROUP", ""));
    assert_eq!(finding, Value::Null, "without a group there is nothing to check");
}
