//! `sluice command` and `sluice shadow`, as a person types them. No publisher runs: what a device
//! would do is written by SQL.

use std::process::Output;
use std::thread;

use serde_json::json;

use super::registry::{done, refused, sluice};
use crate::support::database::Database;
use crate::support::postgres::Postgres;

fn database() -> Database<'static> {
    let database = Postgres::shared().database();
    database.query(
        "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A');
         INSERT INTO devices (tenant_id, device_id, site_id, status) VALUES ('acme', 'pump-1', 'north', 'ACTIVE'),
             ('acme', 'pump-2', 'north', 'ACTIVE'), ('acme', 'pump-3', 'north', 'INACTIVE')",
    );
    database
}

/// Runs `line` while `acts` runs beside it, once a command is queued.
fn beside(database: &Database<'_>, line: &[&str], acts: &str) -> Output {
    let queued = "SELECT count(*) > 0 FROM device_commands WHERE status = 'PENDING'";
    beside_once(queued, database, line, acts)
}

/// The same, once this condition is true.
fn beside_once(condition: &str, database: &Database<'_>, line: &[&str], acts: &str) -> Output {
    thread::scope(|scope| {
        let running = scope.spawn(|| sluice(&database.url(), &[], "", line));
        database.wait_until(condition, "t");
        database.query(acts);
        running.join().unwrap()
    })
}

#[test]
fn a_command_is_sent_followed_listed_shown_and_cancelled() {
    let database = database();
    let line =
        ["command", "send", "reboot", "--device", "acme/pump-1", "--params", r#"{"delay":5}"#];
    let sent = done(&database, &line);
    assert_eq!((&sent["status"], &sent["params"]), (&"PENDING".into(), &json!({ "delay": 5 })));
    let id = sent["command_id"].as_str().unwrap();
    let again = done(&database, &[&line[..], &["--id", id]].concat());
    assert_eq!(again, sent, "queued once");
    let text =
        refused(&database, &["command", "send", "halt", "--device", "acme/pump-1", "--id", id], 64);
    assert!(text.contains(id) && text.contains("--id"), "{text}");

    let listed =
        done(&database, &["command", "list", "--device", "acme/pump-1", "--status", "pending"]);
    assert_eq!(listed, json!([sent]));
    let shown = done(&database, &["command", "show", id, "--device", "acme/pump-1"]);
    assert_eq!(shown, sent);
    let cancelled = done(&database, &["command", "cancel", id, "--device", "acme/pump-1"]);
    assert_eq!(cancelled["status"], "CANCELLED");
    database.query("UPDATE device_commands SET status = 'EXPIRED'");
    let text = refused(&database, &["command", "cancel", id, "--device", "acme/pump-1"], 64);
    assert!(text.contains("EXPIRED"), "{text}");
    let actors = "SELECT DISTINCT actor FROM audit_log WHERE action LIKE 'command.%'";
    assert_eq!(database.value(actors), "cli:alice");
}

#[test]
fn send_waits_for_the_end_and_its_exit_code_says_whether_it_is_good() {
    let database = database();
    let line = ["command", "send", "reboot", "--device", "acme/pump-1", "--wait", "60"];
    let acknowledge = "UPDATE device_commands SET status = 'ACKNOWLEDGED', finished_at = now() WHERE status = 'PENDING'";
    let ended = beside(&database, &line, acknowledge);
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{printed}");
    assert!(printed.contains("PENDING") && printed.contains("ACKNOWLEDGED"), "{printed}");
    let refuse = "UPDATE device_commands SET status = 'REJECTED', finished_at = now() WHERE status = 'PENDING'";
    let ended = beside(&database, &line, refuse);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8(ended.stderr).unwrap().contains("REJECTED"));
    let publish = "UPDATE device_commands SET status = 'PUBLISHED', published_at = now(), attempts = 1 WHERE status = 'PENDING'";
    let short = ["command", "send", "reboot", "--device", "acme/pump-1", "--wait", "5"];
    let ended = beside(&database, &short, publish);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let [printed, text] = [ended.stdout, ended.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(printed.contains("PUBLISHED") && printed.contains("attempt 1"), "{printed}");
    assert!(text.contains("PUBLISHED after 5 s"), "{text}");
    assert!(text.contains("sluice command cancel"), "{text}");
}

#[test]
fn a_batch_is_sent_to_a_site_or_a_tenant_and_followed() {
    let database = database();
    let line = ["command", "send", "update", "--tenant", "acme", "--site", "north"];
    let sent = done(&database, &line);
    assert_eq!((&sent["commands"], &sent["open"]), (&2.into(), &2.into()), "{sent}");
    let id = sent["batch_id"].as_str().unwrap();
    assert_eq!(done(&database, &["command", "show", id, "--tenant", "acme"]), sent);
    let rows = done(&database, &["command", "list", "--batch", id]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let cancelled = done(&database, &["command", "cancel", id, "--tenant", "acme"]);
    assert_eq!(cancelled["statuses"], json!({ "CANCELLED": 2 }));

    let every = ["command", "send", "update", "--tenant", "acme", "--metadata", "{}"];
    assert!(refused(&database, &every, 64).contains("--all"), "an empty condition selects none");

    let all = ["command", "send", "update", "--tenant", "acme", "--all", "--wait", "60"];
    let finish = "UPDATE device_commands SET finished_at = now(), status = CASE device_id WHEN 'pump-1' THEN 'ACKNOWLEDGED' ELSE 'FAILED' END
        WHERE status = 'PENDING'";
    // The command has looked at the batch once, so it prints what it saw.
    let looked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' \
        AND query LIKE 'SELECT status, count(*), min(command_type)%'";
    let ended = beside_once(looked, &database, &all, finish);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let (out, err) =
        (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(out.contains("2 PENDING") && out.contains("1 ACKNOWLEDGED, 1 FAILED"), "{out}");
    assert!(
        err.contains("1 of 2 devices acknowledged") && err.contains("1 devices that match"),
        "{err}"
    );
    for (line, words) in [
        (&["command", "send", "x"][..], "--device TENANT/DEVICE"),
        (&["command", "send", "x", "--tenant", "acme"], "--all"),
        (&["command", "send", "x", "--device", "acme/pump-1", "--site", "north"], "leave out"),
        (&["command", "send", "x", "--device", "acme/pump-3"], "INACTIVE"),
        (&["command", "send", "x", "--device", "acme/pump-9"], "not found"),
        (&["command", "send", "x", "--tenant", "acme", "--site", "west"], "no ACTIVE device"),
        (&["command", "show", id], "--device TENANT/DEVICE"),
        (&["command", "show", id, "--device", "acme/pump-1"], "not found"),
    ] {
        let text = refused(&database, line, 64);
        assert!(text.contains(words), "{line:?}: {text}");
    }
}

#[test]
fn a_shadow_is_set_patched_cleared_shown_and_listed() {
    let database = database();
    let set =
        ["shadow", "set", "acme", "pump-1", r#"{"rate":5,"mode":"eco"}"#, "--if-version", "0"];
    assert_eq!(done(&database, &set)["desired_version"], 1);
    let text = refused(&database, &set, 64);
    assert!(text.contains("has version 1") && text.contains("sluice shadow show"), "{text}");
    let patched = done(&database, &["twin", "patch", "acme", "pump-1", r#"{"mode":null}"#]);
    assert_eq!(
        (&patched["desired"], &patched["desired_version"]),
        (&json!({ "rate": 5 }), &2.into())
    );
    let output =
        sluice(&database.url(), &[], r#"{"rate":6}"#, &["shadow", "set", "acme", "pump-1", "-"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("In sync           no") && text.contains(r#"{"rate": 6}"#), "{text}");
    let behind = done(&database, &["shadow", "list", "--tenant", "acme", "--not-in-sync"]);
    assert_eq!(behind[0]["device_id"], "pump-1");
    assert_eq!(behind.as_array().unwrap().len(), 1);
    let cleared = done(&database, &["shadow", "clear", "acme", "pump-1", "--if-version", "3"]);
    assert_eq!(done(&database, &["shadow", "show", "acme", "pump-1"]), cleared);
    for (line, words) in [
        (&["shadow", "set", "acme", "pump-1", "[]"][..], "expected a JSON object"),
        (&["shadow", "set", "acme", "pump-9", "{}"], "not found"),
        (&["shadow", "show", "acme", "pump-9"], "not found"),
    ] {
        let text = refused(&database, line, 64);
        assert!(text.contains(words), "{line:?}: {text}");
    }
}
