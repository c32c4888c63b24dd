//! That the broker isolates devices is proven: by publishing as a device, to its own topic and to
//! those of others.

use std::fs;

use serde_json::Value;

use super::revocation_stack::RevocationStack;
use crate::compose::stack::Stack;
use crate::support::mosquitto::{PROBE_ROWS, version};
use crate::support::wait;

const ENFORCED: &str = "sluice_isolation_enforced";
const IGNORED: &str = "sluice_messages_total{result=\"ignored\"}";

/// What the probe left in the database, and must not.
const TRACES: &str = "SELECT (SELECT count(*) FROM telemetry WHERE strpos(tenant_id, '$') > 0) + \
    (SELECT count(*) FROM quarantine_events WHERE strpos(topic, '$sluice') > 0) + \
    (SELECT count(*) FROM devices WHERE strpos(tenant_id, '$') > 0)";

#[test]
fn isolation_is_proven_after_each_reload_and_its_two_failures_differ() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let mut revocation = RevocationStack::around(stack);
    let path = revocation.stack.path("data/device-crl.pem");
    let settings = revocation.settings("sluice").set("CRL_OUTPUT_PATH", path.to_str().unwrap());
    let settings =
        settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap()).set("AUTO_PROVISION", "1");
    let settings = settings.set("REQUIRE_TOKEN", "0").set("MQTT_SHARE_GROUP", "");
    let acl = revocation.stack.path("data/acl.conf");
    let good = fs::read_to_string(&acl).unwrap();
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    daemon.wait_metric(IGNORED, 1.0);
    let doctor = |level: &str, words: &str| {
        let output = settings.command(&["doctor", "--output", "json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let finding =
            findings.iter().find(|finding| finding["check"] == "broker isolation").unwrap();
        assert_eq!(finding["level"], level, "{finding}");
        assert!(finding["finding"].as_str().unwrap().contains(words), "{finding}");
    };
    doctor("ok", "refuses those of other devices");

    // A hole: any certificate may publish as any device. The daemon looks because it had the broker
    // read its files.
    let hole = "pattern write tenant/+/device/+/heartbeat\n";
    fs::write(&acl, format!("{good}\n{hole}")).unwrap();
    settings.run(&["crl", "publish"]);
    // A reload in the middle of a check shows first a part of the topics.
    let why = daemon.wait_unready_for("tenant/$sluice/device/foreign/heartbeat");
    assert!(why.contains("devices are not isolated"), "{why}");
    assert!(daemon.metric(ENFORCED) < 1.0);
    doctor("error", "devices are not isolated");

    // Nothing fits a device, as with %u on Mosquitto 2.1.
    fs::write(&acl, good.replace("%u", "%u-other").replace(PROBE_ROWS, "")).unwrap();
    revocation.stack.process().signal("HUP", &[]);
    daemon.wait_unready_for("devices cannot publish");
    assert!(daemon.metric(ENFORCED) < 1.0);
    doctor("error", "devices cannot publish");

    fs::write(&acl, good).unwrap();
    revocation.stack.process().signal("HUP", &[]);
    daemon.wait_metric(ENFORCED, 1.0);
    daemon.wait_ready();
    assert_eq!(revocation.database.value(TRACES), "0", "nothing of the probe is kept");
    for result in ["enforced", "broken", "own_refused"] {
        assert!(
            daemon.metric(&format!("sluice_isolation_checks_total{{result=\"{result}\"}}")) > 0.0,
            "{result}"
        );
    }
}

#[test]
fn a_rule_by_a_client_id_that_devices_choose_isolates_no_device() {
    // Since 2.1 %c matches one level of a topic only, and so no client id with slashes.
    if version() >= (2, 1) {
        return;
    }
    let mut stack = Stack::prepared();
    let conf = stack.path("mosquitto.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(
        &conf,
        text.replace("use_username_as_clientid true", "use_username_as_clientid false"),
    )
    .unwrap();
    let acl = fs::read_to_string(stack.path("acl.conf")).unwrap();
    fs::write(stack.path("acl.conf"), acl + "\npattern write tenant/%c/event\n").unwrap();
    stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    let daemon = revocation.settings("sluice").start();
    let why = daemon.wait_unready_for("tenant/$sluice/device/foreign/event");
    assert!(why.contains("devices are not isolated"), "{why}");
    wait::until("it is counted", || daemon.metric(ENFORCED) < 1.0);
}
