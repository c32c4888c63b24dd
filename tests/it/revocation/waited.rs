//! A revocation that is waited for, by command and over HTTP: each step is shown with its time, and
//! the failed one is named.

use std::process::Output;

use serde_json::{Value, json};

use super::revocation_stack::RevocationStack;
use crate::api::client::{Client, TOKEN};
use crate::compose::stack::Stack;
use crate::support::daemon::{Daemon, Settings};
use crate::support::port;

const LINKS: [&str; 5] = ["revoked", "published", "reloaded", "ended", "proven"];

/// A replica that runs, and its API.
struct Replica {
    settings: Settings,
    _daemon: Daemon,
    client: Client,
}

// === impl Replica ===

impl Replica {
    fn start(settings: Settings) -> Self {
        let port = port::free();
        let settings =
            settings.set("HTTP_BIND", &format!("127.0.0.1:{port}")).set("ADMIN_TOKEN", TOKEN);
        let daemon = settings.start();
        Self { settings, _daemon: daemon, client: Client::of(port, Some(TOKEN)) }
    }

    fn revoke(&self, id: &str, more: &[&str]) -> Output {
        self.settings.command(&[&["cert", "revoke", id, "--wait"], more].concat()).output().unwrap()
    }
}

/// The certificate of a device.
fn certificate(revocation: &RevocationStack, device: &str) -> String {
    revocation
        .database
        .value(&format!("SELECT id FROM device_certificates WHERE device_id = '{device}'"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The links that held, in the order they are told, each with a time that is no earlier than the
/// one before.
fn held(chain: &Value) -> Vec<&str> {
    let links: Vec<&Value> = chain["links"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|link| !link["held_at"].is_null())
        .collect();
    let times: Vec<f64> = links.iter().map(|link| link["seconds"].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0].abs() < 1e-9, "{chain}");
    links.iter().map(|link| link["link"].as_str().unwrap()).collect()
}

#[test]
fn each_step_is_shown_with_its_time_by_command_and_over_http() {
    let revocation = RevocationStack::around(Stack::start());
    let replica = Replica::start(revocation.settings("sluice"));
    let (first, second) = (certificate(&revocation, "pump-1"), certificate(&revocation, "pump-2"));
    let output = replica.revoke(&first, &["--reason", "keyCompromise"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!revocation.stack.lets_in("pump-1"), "it is proven");
    let said = text(&output.stdout);
    let words: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.iter().map(|line| line[0]).collect::<Vec<_>>(), LINKS, "{said}");
    assert!(words.iter().all(|line| line[1].ends_with('Z') && line[2].starts_with('+')), "{said}");
    assert!(words[1].ends_with(&["CRL", "number", words[1].last().unwrap()]), "{said}");

    let again = replica.revoke(&first, &["--output", "json"]);
    assert!(text(&again.stderr).contains("already revoked"), "{again:?}");
    let told: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&told["id"], &told["revoked_reason"]), (&json!(first), &"keyCompromise".into()));
    assert_eq!(held(&told["revocation"]), LINKS);
    assert_eq!(
        (&told["revocation"]["proven"], &told["revocation"]["missing"]),
        (&true.into(), &Value::Null)
    );

    let revoked =
        replica.client.post(&format!("/certificates/{second}/revoke?wait=20"), &json!({})).ok(200);
    assert!(!revocation.stack.lets_in("pump-2"), "it is proven");
    assert_eq!(
        (held(&revoked["revocation"]), &revoked["status"]),
        (LINKS.to_vec(), &"REVOKED".into())
    );
    assert_eq!(
        replica.client.get(&format!("/certificates/{second}/revocation")).ok(200),
        revoked["revocation"]
    );
}

#[test]
fn the_link_that_does_not_hold_is_named_when_the_broker_is_not_told() {
    let mut stack = Stack::prepared();
    stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    // The broker is not notified, and the list is written where the broker does not read.
    let replica = Replica::start(revocation.settings("sluice"));
    let (first, second) = (certificate(&revocation, "pump-1"), certificate(&revocation, "pump-2"));
    replica.settings.run(&["cert", "revoke", &first]);
    replica.client.post(&format!("/certificates/{second}/revoke"), &json!({})).ok(200);
    // The step fails after its own grace; only then can it be named.
    let failed = "SELECT count(*) FROM certificate_revocations WHERE failed_link = 'reloaded' AND failure IS NOT NULL";
    revocation.database.wait_until(failed, "2");
    let output = replica.revoke(&first, &["--timeout", "1", "--output", "json"]);
    let answer = replica.client.post(&format!("/certificates/{second}/revoke?wait=1"), &json!({}));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("`reloaded`") && said.contains("BROKER_RELOAD_COMMAND"), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["status"], held(&told["revocation"])),
        (&"REVOKED".into(), LINKS[..2].to_vec())
    );
    assert_eq!(told["revocation"]["missing"], "reloaded");

    let problem = answer.problem(504, "not-proven");
    assert!(problem["detail"].as_str().unwrap().contains("`reloaded`"), "{problem}");
    assert_eq!(
        (&problem["revocation"]["missing"], held(&problem["revocation"])),
        (&"reloaded".into(), LINKS[..2].to_vec())
    );
    let failure = problem["revocation"]["failure"].as_str().unwrap();
    assert!(failure.contains("accepts a certificate that the CRL revokes"), "{failure}");

    let table = replica.revoke(&first, &["--timeout", "1"]);
    assert_eq!(
        (table.status.code(), text(&table.stdout).lines().count()),
        (Some(1), 2),
        "{table:?}"
    );
}

#[test]
fn the_failed_step_is_named_when_there_is_no_probe_or_no_publisher() {
    let revocation = RevocationStack::around(Stack::start());
    let (first, second) = (certificate(&revocation, "pump-1"), certificate(&revocation, "pump-2"));
    let settings = revocation.settings("sluice");
    let idle =
        settings.command(&["cert", "revoke", &first, "--wait", "--timeout", "1"]).output().unwrap();
    assert_eq!(idle.status.code(), Some(1), "{idle:?}");
    let said = text(&idle.stderr);
    assert!(
        said.contains("`published`") && said.contains("check that a daemon runs with"),
        "{said}"
    );
    let bad = settings.command(&["cert", "revoke", &first, "--timeout", "1"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(64), "--timeout without --wait: {bad:?}");

    let replica = Replica::start(settings.set("BROKER_PROBE_ADDR", ""));
    let output = replica.revoke(&second, &["--timeout", "60"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("`proven`") && said.contains("BROKER_PROBE_ADDR is not set"), "{said}");
    assert!(text(&output.stdout).contains("ended  "), "{output:?}");
    let problem = replica
        .client
        .post(&format!("/certificates/{second}/revoke?wait=20"), &json!({}))
        .problem(504, "not-proven");
    assert_eq!(problem["revocation"]["missing"], "proven");
}
