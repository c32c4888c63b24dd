//! Reports of a device's state and acknowledgements of its commands: the newest version wins, a
//! command is acknowledged once, and one that was never sent is refused.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a'), ('acme', 'b'), ('acme', 'c'), ('acme', 'd')";

#[test]
fn the_newest_version_of_a_reported_state_wins_in_any_batch() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let path = |device: &str| format!("acme/device/{device}/shadow/reported");
    let report = |state: &str, version: i64| {
        format!(r#"{{"reported":{{"n":"{state}"}},"version":{version}}}"#)
    };
    // Within one batch, or nearly.
    pipeline.send(&[
        to(&path("a"), report("old", 1)),
        to(&path("a"), report("new", 9_223_372_036_854_775_807)),
        to(&path("a"), report("older", 0)),
        to(&path("b"), report("first", 5)),
        to(&path("c"), r#"{"reported":{"n":"first"}}"#),
        to(&path("c"), r#"{"reported":{"n":"second"}}"#),
    ]);
    pipeline.settle();
    // Later: older, equal and newer than what is stored, and one that names no version.
    for (device, payload) in [
        ("b", report("too late", 4)),
        ("b", report("equal", 5)),
        ("c", report("third", 1)),
        ("d", r#"{"reported":{"n":"one"},"version":"1"}"#.to_owned()),
    ] {
        pipeline.publish(&path(device), payload);
        pipeline.settle();
    }
    let kept = "SELECT device_id, reported ->> 'n' || ' ' || coalesce(reported_version::text, '-') \
        FROM device_state WHERE reported IS NOT NULL";
    let expected =
        [("a", "new 9223372036854775807"), ("b", "equal 5"), ("c", "third 1"), ("d", "one -")];
    assert_same(&pipeline.pairs(kept), &sorted(expected));
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "0");
    assert_eq!(pipeline.refusals(), []);
    pipeline
        .database
        .wait_until("SELECT count(last_seen_at) - count(last_telemetry_at) FROM device_state", "4");
}

/// Device, the end of the topic, payload, and the start of what quarantine says.
type Case = (&'static str, &'static str, String, &'static str);

fn bad_reports() -> Vec<Case> {
    let report = |device, payload: &str, words| (device, "shadow/reported", payload.into(), words);
    let large = format!(r#"{{"reported":{{"x":{}}}}}"#, "9".repeat(140_000));
    let nul = r#"{"reported":{"x":"\u0000"}}"#;
    let wrong_version = "BAD_PAYLOAD: version must be";
    vec![
        report("a", "{}", "BAD_PAYLOAD: reported is missing"),
        report("a", r#"{"reported":[1]}"#, "BAD_PAYLOAD: reported must be an object"),
        report("a", r#"{"reported":{},"version":-1}"#, wrong_version),
        report("a", r#"{"reported":{},"version":"2"}"#, wrong_version),
        report("a", r#"{"reported":{},"device_id":"b"}"#, "DEVICE_MISMATCH"),
        report("a", nul, "STORE_REJECTED: jsonb cannot store"),
        report("a", &large, "PAYLOAD_TOO_LARGE"),
        report("x", r#"{"reported":{}}"#, "UNREGISTERED_DEVICE"),
    ]
}

fn bad_acknowledgements() -> Vec<Case> {
    let ack = |payload: &str, words| ("a", "commands/ack", payload.into(), words);
    let of_command =
        |rest: &str| format!(r#"{{"command_id":"0191d5a0-0000-7000-8000-000000000001"{rest}}}"#);
    let no_id = "BAD_PAYLOAD: command_id is missing or not a UUID";
    vec![
        ack("{}", no_id),
        ack(r#"{"command_id":"7"}"#, no_id),
        ack(&of_command(r#","status":1"#), "BAD_PAYLOAD: status must be a string"),
        ack(&of_command(r#","details":[]"#), "BAD_PAYLOAD: details must be an object"),
        ack(&of_command(r#","version":"2""#), "UNSUPPORTED_VERSION"),
        ack(&of_command(""), "STORE_REJECTED: command 0191d5a0"),
    ]
}

#[test]
fn an_invalid_report_or_ack_is_refused_by_its_own_fields() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let cases: Vec<Case> = bad_reports().into_iter().chain(bad_acknowledgements()).collect();
    for (device, path, payload, words) in &cases {
        pipeline.publish(&format!("acme/device/{device}/{path}"), payload);
        pipeline.settle();
        let last = "SELECT reason || ': ' || detail FROM quarantine_events ORDER BY received_at DESC LIMIT 1";
        let said = pipeline.value(last);
        assert!(said.starts_with(words), "{payload}: {said}");
    }
    assert_eq!(pipeline.value("SELECT count(*) FROM quarantine_events"), cases.len().to_string());
    assert_eq!(pipeline.value("SELECT count(*) FROM device_state WHERE reported IS NOT NULL"), "0");
    pipeline.assert_unharmed();
}

#[test]
fn a_command_is_acknowledged_once_by_the_device_it_was_given_to() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let id = |number: u8| format!("0191d5a0-0000-7000-8000-00000000000{number}");
    // A pending one would be published meanwhile, and its echo be one more message.
    for (number, status) in [(1, "PUBLISHED"), (2, "PUBLISHED"), (3, "EXPIRED")] {
        pipeline.database.query(&format!(
            "INSERT INTO device_commands (command_id, tenant_id, device_id, command_type, status) \
             VALUES ('{}', 'acme', 'a', 'reboot', '{status}')",
            id(number)
        ));
    }
    let ack = |number: u8, rest: &str| format!(r#"{{"command_id":"{}"{rest}}}"#, id(number));
    let path = "acme/device/a/commands/ack";
    pipeline.send(&[
        to(path, ack(1, r#","status":"failed","details":{"why":"no power","n":1.10}"#)),
        to(path, ack(1, r#","status":"later""#)),
        to("acme/device/b/commands/ack", ack(2, "")),
        to(path, ack(3, "")),
    ]);
    pipeline.settle();
    pipeline.publish(path, ack(1, r#","status":"much later""#));
    pipeline.settle();
    let commands = "SELECT status || ' ' || (acked_at IS NOT NULL)::text, coalesce(ack_details::text, '-') FROM device_commands";
    let expected = [
        ("FAILED true", r#"{"status": "failed", "details": {"n": 1.10, "why": "no power"}}"#),
        ("PUBLISHED false", "-"),
        ("ACKNOWLEDGED true", r#"{"status": "ok", "details": null}"#),
    ];
    assert_same(&pipeline.pairs(commands), &sorted(expected));
    let refused = pipeline.refused("true");
    assert_eq!(
        (&refused["device_id"], &refused["reason"]),
        (&"b".into(), &"STORE_REJECTED".into())
    );
    let ends = ["stored", "duplicate", "quarantined"].map(|end| pipeline.ended(end));
    assert_eq!(ends, [2, 2, 1]);
}
