//! `sluice quarantine replays`: a command orders, and a daemon works.

use std::process::Output;

use serde_json::Value;

use crate::support::test_daemon::TestDaemon;

const ROWS: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'a');
    INSERT INTO quarantine_events (id, received_at, topic, tenant_id, device_id, msg_type, reason, detail, payload, message_id)
    SELECT gen_random_uuid(), now(), 'tenant/acme/device/' || d || '/telemetry', 'acme', d, 'telemetry', 'UNREGISTERED_DEVICE', '',
        '{\"metrics\":{}}', gen_random_uuid() FROM (VALUES ('a'), ('a'), ('b')) v (d)";

/// The result of each row, with its number.
fn results(job: &Value) -> Vec<String> {
    let rows = job["results"].as_array().unwrap().iter();
    let mut rows: Vec<String> =
        rows.map(|row| format!("{} {}", row["count"], row["result"].as_str().unwrap())).collect();
    rows.sort();
    rows
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

#[test]
fn a_job_is_ordered_followed_and_shown() {
    let it = TestDaemon::builder().registry(ROWS).set("REQUIRE_TOKEN", "0").start();
    let run =
        |line: &[&str]| it.settings.command(&[&["quarantine"], line].concat()).output().unwrap();
    let json = |line: &[&str]| -> Value {
        let output = run(&[line, &["--output", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let checked = json(&["replay", "--search", "tenant:acme -id:x", "--job", "--dry-run"]);
    assert_eq!(results(&checked), ["1 refused", "2 would be stored"]);
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "0");
    let id = checked["id"].as_str().unwrap();
    let started = run(&["replays", "start", id, "--follow"]);
    assert_eq!(started.status.code(), Some(1), "one is refused again: {started:?}");
    let said = text(&started);
    // In the order of the messages, which were quarantined at one time.
    let outcomes = ["2 stored", "1 refused (UNREGISTERED_DEVICE)"];
    assert!(outcomes.iter().all(|result| said.contains(result)), "{said}");
    assert!(said.contains("3 of 3") && said.contains("cli:"), "{said}");
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "2");
    let listed = json(&["replays", "list", "--tenant", "acme"]);
    assert_eq!((&listed[0]["status"], &listed[0]["stage"]), (&"DONE".into(), &"REPLAY".into()));
    let again = run(&["replays", "start", id]);
    assert!(again.status.code() == Some(64) && text(&again).contains("is done"), "{again:?}");
    let unknown = "00000000-0000-0000-0000-000000000009";
    assert!(text(&run(&["replays", "stop", unknown])).contains("replays list"));
    // Both stages by one command: only the message that was refused again is left.
    let both = json(&["replay", "--tenant", "acme", "--job"]);
    assert_eq!((results(&both), &both["stage"]), (vec!["1 refused".to_owned()], &"REPLAY".into()));
}
