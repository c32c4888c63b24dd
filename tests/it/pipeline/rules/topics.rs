//! The topic grammar: where each type of message is kept, and which topics are none.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1'), ('acme', 'A.b_c:d-9')";

/// Types whose messages become telemetry rows.
const TELEMETRY: [&str; 10] = [
    "telemetry",
    "telemetry/engine",
    "telemetry/engine/1/oil-temp",
    "heartbeat",
    "event",
    "status",
    "shadow",
    "Some.other_word:1-2",
    "telemetry/shadow/reported",
    "telemetry/commands",
];

/// What the platform says itself.
const PLATFORM: [&str; 14] = [
    "commands",
    "commands/reboot",
    "commands/ack/x",
    "commands/a/b",
    "shadow/desired",
    "jobs/1",
    "jobs/a/b",
    "errors",
    "request",
    "request/time",
    "response/time/accepted",
    "response",
    "notices/certificate",
    "notices",
];

#[test]
fn each_type_of_topic_is_stored_in_its_table_and_others_are_ignored() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let command = "0191d5a0-0000-7000-8000-000000000001";
    pipeline.database.query(&format!(
        "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status) \
         VALUES ('{command}', 'acme', 'p1', 'reboot', 'PUBLISHED')"
    ));
    let telemetry = TELEMETRY.map(|path| to(&format!("acme/device/p1/{path}"), "{}"));
    // No check is made of what is ignored, not even whether it is JSON.
    let platform = PLATFORM.map(|path| to(&format!("acme/device/p1/{path}"), "not JSON"));
    pipeline.send(&telemetry);
    pipeline.send(&platform);
    pipeline.publish("acme/device/A.b_c:d-9/telemetry", "{}");
    pipeline.publish("acme/device/p1/shadow/reported", r#"{"reported":{"on":true},"version":3}"#);
    pipeline.publish(
        "acme/device/p1/commands/ack",
        format!(r#"{{"command_id":"{command}","status":"done"}}"#),
    );
    pipeline.settle();

    let kept = pipeline
        .pairs("SELECT msg_type, tenant_id || ' ' || device_id FROM telemetry ORDER BY 1, 2");
    let expected = TELEMETRY
        .map(|path| (path, "acme p1"))
        .into_iter()
        .chain([("telemetry", "acme A.b_c:d-9")]);
    assert_same(&kept, &sorted(expected));
    assert_eq!(pipeline.refusals(), []);
    let ends = ["stored", "duplicate", "quarantined", "ignored"].map(|end| pipeline.ended(end));
    assert_eq!(ends, [13, 0, 0, 14]);
    assert_eq!(
        pipeline.pairs("SELECT reported::text, reported_version::text FROM device_state WHERE reported IS NOT NULL"),
        sorted([(r#"{"on": true}"#, "3")])
    );
    assert_eq!(
        pipeline.pairs("SELECT status, ack_details ->> 'status' FROM device_commands"),
        sorted([("ACKNOWLEDGED", "done")])
    );
    // The time of a device's last message is written a moment later, without another message.
    pipeline.database.wait_until(
        "SELECT count(*) FROM device_state WHERE last_telemetry_at <= last_seen_at",
        "2",
    );
}

#[test]
fn a_topic_outside_the_grammar_is_quarantined_as_it_was() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
    let bad = [
        "acme/device/p1".to_owned(),
        "acme/device/p1/".to_owned(),
        "/device/p1/telemetry".to_owned(),
        "acme/device//telemetry".to_owned(),
        "ac me/device/p1/telemetry".to_owned(),
        "acme/device/p%1/telemetry".to_owned(),
        "acmé/device/p1/telemetry".to_owned(),
        format!("{too_long}/device/p1/telemetry"),
        format!("acme/device/{too_long}/telemetry"),
        "acme/device/p1/telemetry/".to_owned(),
        "acme/device/p1/telemetry//a".to_owned(),
        "acme/device/p1/telemetry/a b".to_owned(),
        format!("acme/device/p1/telemetry/{too_long}"),
        format!("acme/device/p1/telemetry/{longest}/{longest}/x"),
        "acme/device/p1/heartbeat/x".to_owned(),
        "acme/device/p1/shadow/other".to_owned(),
        "acme/device/p1/shadow/reported/x".to_owned(),
        "acme/device/p1/shadow/desired/x".to_owned(),
        "acme/device/p1/two words".to_owned(),
        format!("acme/device/p1/{too_long}"),
    ];
    pipeline.send(&bad.each_ref().map(|path| to(path, r#"{"metrics":{"t":1}}"#)));
    // As long as the grammar allows: the device is unknown, so the topic was accepted.
    pipeline.publish(&format!("{longest}/device/{longest}/telemetry/{}", "y".repeat(64)), "{}");
    pipeline.settle();

    let found = pipeline.pairs(
        "SELECT topic, detail FROM quarantine_events WHERE reason = 'BAD_TOPIC_FORMAT' ORDER BY 1",
    );
    let mut topics: Vec<String> = bad.iter().map(|path| format!("tenant/{path}")).collect();
    topics.sort();
    assert_eq!(found.iter().map(|(topic, _)| topic.clone()).collect::<Vec<_>>(), topics);
    assert!(found.iter().all(|(_, detail)| !detail.is_empty()));
    let row = pipeline.refused("topic = 'tenant/ac me/device/p1/telemetry'");
    for column in
        ["tenant_id", "device_id", "msg_type", "site_id", "event_ts", "token_sha256", "replayed_at"]
    {
        assert!(row[column].is_null(), "{column}: {row:#}");
    }
    assert_eq!(row["payload"], r#"{"metrics":{"t":1}}"#);
    assert!(row["detail"].as_str().unwrap().starts_with("tenant: "), "{row:#}");
    let counted = pipeline.pairs(
        "SELECT tenant_id || '/' || reason, sum(cnt)::text FROM quarantine_counters_minute GROUP BY 1 ORDER BY 1",
    );
    let unregistered = format!("{longest}/UNREGISTERED_DEVICE");
    // A topic that names its tenant and device well is counted as theirs, so that no tenant's flood
    // hides another's refusals.
    let theirs = ("acme/BAD_TOPIC_FORMAT", "12");
    assert_same(&counted, &sorted([("/BAD_TOPIC_FORMAT", "8"), theirs, (&unregistered, "1")]));
    let named = "SELECT count(*) FROM quarantine_events WHERE reason = 'BAD_TOPIC_FORMAT' AND tenant_id = 'acme' \
        AND device_id = 'p1'";
    assert_eq!(pipeline.value(named), "12");
    pipeline.assert_unharmed();
}
