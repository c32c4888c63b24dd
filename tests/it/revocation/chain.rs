//! Each promise about revocation: within seconds, on new connections, on live sessions, on messages
//! that wait; on every replica; and whatever becomes of the CRL file.

use std::fs;

use serde_json::Value;

use super::revocation_stack::RevocationStack;
use crate::compose::stack::Stack;
use crate::support::daemon::Daemon;
use crate::support::mosquitto::version;
use crate::support::time_bounds::{REVOCATION, REVOCATION_AFTER_REPAIR};
use crate::support::wait;

const ENFORCED: &str = "sluice_crl_enforced";
const PUBLISHER: &str = "this replica publishes the CRL";
const SECONDS: &str = "sluice_revocation_seconds_count";

fn is_publisher(daemon: &Daemon) -> bool {
    daemon.log().contains(PUBLISHER)
}

#[test]
fn a_revoked_device_is_disconnected_within_seconds_and_no_other_is() {
    let revocation = RevocationStack::around(Stack::start());
    let replicas = ["one", "other"].map(|name| revocation.settings(name).start());
    for replica in &replicas {
        replica.wait_ready();
        replica.wait_metric(ENFORCED, 1.0);
        assert!(replica.metric("sluice_crl_next_update_seconds") > 1.7e9);
    }
    let session = |device| revocation.stack.over_tls("mosquitto_sub", Some(device), &["-t", "x"]);
    let _doomed = revocation.stack.listening(&session("pump-1"), "doomed");
    let _other = revocation.stack.listening(&session("pump-2"), "other");

    let row = revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION);
    assert!(!revocation.stack.lets_in("pump-1"), "a new connection is refused");
    assert!(row.elapsed() < REVOCATION, "{:?}", row.elapsed());
    assert_eq!(
        (revocation.takeovers("pump-1"), revocation.takeovers("pump-2")),
        (1, 0),
        "one live session was ended"
    );
    let in_order = "SELECT noticed_at <= published_at AND published_at <= reloaded_at AND reloaded_at <= ended_at \
        AND ended_at <= proven_at AND failure IS NULL FROM certificate_revocations";
    assert_eq!(revocation.database.value(in_order), "t");
    wait::until("it is counted once", || {
        replicas.iter().map(|one| one.metric(SECONDS)).sum::<f64>() > 0.0
    });
    assert!(replicas.iter().map(|one| one.metric(SECONDS)).sum::<f64>() < 1.5);

    let [one, other] = &replicas;
    assert!(is_publisher(one) != is_publisher(other), "one publishes");
    let (publisher, heir) = if is_publisher(one) { (one, other) } else { (other, one) };
    publisher.kill9();
    wait::until("the other one publishes", || is_publisher(heir));
    wait::until("it has published", || heir.log().contains("a CRL was published"));
    revocation.revoke("pump-2");
    revocation.wait_proven("pump-2", REVOCATION);
    assert!(!revocation.stack.lets_in("pump-2"));
}

#[test]
fn messages_queued_while_their_device_was_revoked_are_quarantined() {
    let revocation = RevocationStack::around(Stack::start());
    let replicas = ["one", "other"].map(|name| revocation.settings(name).start());
    replicas.iter().for_each(Daemon::wait_ready);
    for replica in &replicas {
        assert_eq!(replica.terminate(), 0);
    }
    let topic = "tenant/acme/device/pump-1/telemetry";
    for number in 1..=4 {
        let message = format!(r#"{{"seq":{number},"metrics":{{"t":1}}}}"#);
        let mut publish = revocation.stack.over_tls(
            "mosquitto_pub",
            Some("pump-1"),
            &["-q", "1", "-t", topic, "-m", &message],
        );
        assert!(publish.output().unwrap().status.success());
    }
    revocation.revoke("pump-1");
    replicas.iter().for_each(Daemon::start_again);
    let of_topic = |table: &str| {
        format!(
            "SELECT count(*) FROM {table} WHERE device_id = 'pump-1' AND msg_type = 'telemetry'"
        )
    };
    revocation.database.wait_until(
        &(of_topic("quarantine_events") + " AND reason = 'TOKEN_NOT_SET_IN_REGISTRY'"),
        "4",
    );
    assert_eq!(revocation.database.value(&of_topic("telemetry")), "0");
    revocation.wait_proven("pump-1", REVOCATION_AFTER_REPAIR);
    assert!(!revocation.stack.lets_in("pump-1") && revocation.stack.lets_in("pump-2"));
}

#[test]
fn a_damaged_crl_file_is_repaired_and_changes_no_access_meanwhile() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    let path = revocation.stack.path("data/device-crl.pem");
    let settings = revocation.settings("sluice").set("CRL_OUTPUT_PATH", path.to_str().unwrap());
    let settings = settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap());
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    let past = fs::read(&path).unwrap();
    revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION);
    let good = fs::read(&path).unwrap();
    let damages: [(&str, &dyn Fn()); 4] = [
        ("it is damaged", &|| fs::write(&path, &good[..good.len() / 2]).unwrap()),
        ("it is missing", &|| fs::remove_file(&path).unwrap()),
        ("it is damaged", &|| fs::write(&path, "").unwrap()),
        ("was published", &|| fs::write(&path, &past).unwrap()),
    ];
    for (number, (why, damage)) in damages.iter().enumerate() {
        damage();
        wait::until("the daemon notices", || {
            daemon.log().matches("the CRL file is not the published CRL").count() == number + 1
        });
        assert!(
            daemon
                .log()
                .lines()
                .rfind(|line| line.contains("CRL file is not"))
                .unwrap()
                .contains(why),
            "{why}"
        );
        assert!(!revocation.stack.lets_in("pump-1") && revocation.stack.lets_in("pump-2"), "{why}");
        let shown = wait::for_some("the file is good again", || {
            let output = settings.command(&["crl", "show", "--output", "json"]).output().unwrap();
            output.status.success().then_some(output.stdout)
        });
        let shown: Value = serde_json::from_slice(&shown).unwrap();
        assert!(shown["file"].as_str().unwrap().starts_with("good: number "), "{shown}");
        assert!(!revocation.stack.lets_in("pump-1") && revocation.stack.lets_in("pump-2"), "{why}");
    }
    let number =
        |text: &str| serde_json::from_str::<Value>(text).unwrap()["crl_number"].as_i64().unwrap();
    let before = number(&settings.run(&["crl", "show", "--output", "json"]));
    let asked = settings.run(&["crl", "publish", "--output", "json"]);
    assert!(number(&asked) > before && asked.contains("the daemon"), "{asked}");
    daemon.kill9();
    assert!(settings.run(&["crl", "publish"]).contains("this command"));
    assert!(!revocation.stack.lets_in("pump-1") && revocation.stack.lets_in("pump-2"));
}

#[test]
fn a_client_that_connected_under_a_damaged_crl_is_disconnected_later() {
    let mut stack = Stack::prepared();
    let pid_file = stack.launch_alone();
    let mut revocation = RevocationStack::around(stack);
    let path = revocation.stack.path("data/device-crl.pem");
    let settings = revocation.settings("sluice").set("CRL_OUTPUT_PATH", path.to_str().unwrap());
    let daemon = settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap()).start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION_AFTER_REPAIR);
    let proven_once = daemon.metric(SECONDS);
    assert_eq!(daemon.terminate(), 0);

    fs::write(&path, "").unwrap();
    revocation.stack.process().signal("HUP", &[]);
    if version() >= (2, 1) {
        // It accepts no client: it ends.
        assert_ne!(revocation.stack.process().wait(), 0);
        return;
    }
    wait::until("the broker lets in whom it must not", || revocation.stack.lets_in("pump-1"));
    let greetings = |revocation: &RevocationStack| {
        revocation.stack.log().matches("New client connected").count()
    };
    let (before, ended) = (greetings(&revocation), revocation.takeovers("pump-1"));
    let mut intruder =
        revocation.stack.over_tls("mosquitto_sub", Some("pump-1"), &["-t", "#"]).spawn().unwrap();
    wait::until("it is in", || greetings(&revocation) > before);

    daemon.start_again();
    wait::until("its session is ended", || revocation.takeovers("pump-1") > ended);
    wait::until("it is refused", || !revocation.stack.lets_in("pump-1"));
    daemon.wait_ready();
    assert!(daemon.metric(SECONDS) <= proven_once, "a revocation is measured once");
    intruder.kill().unwrap();
    intruder.wait().unwrap();
}

#[test]
fn a_broker_that_does_not_enforce_the_crl_turns_readiness_red() {
    let mut stack = Stack::prepared();
    stack.launch_alone();
    let revocation = RevocationStack::around(stack);
    // It writes where the broker does not look.
    let daemon = revocation.settings("sluice").start();
    revocation.revoke("pump-1");
    let why = daemon.wait_unready_for("accepts a certificate that the CRL revokes");
    assert!(why.contains("revocation"), "{why}");
    assert!(daemon.metric(ENFORCED) < 1.0);
    let failed =
        "SELECT failed_link || ' ' || (published_at IS NOT NULL) FROM certificate_revocations";
    revocation.database.wait_until(failed, "reloaded true");
}

#[test]
fn a_revocation_outlives_its_row_and_a_device_deleted_by_sql() {
    let revocation = RevocationStack::around(Stack::start());
    let settings = revocation.settings("sluice");
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric(ENFORCED, 1.0);
    let _doomed = revocation.stack.listening(
        &revocation.stack.over_tls("mosquitto_sub", Some("pump-2"), &["-t", "x"]),
        "doomed",
    );
    revocation.revoke("pump-1");
    revocation.wait_proven("pump-1", REVOCATION);
    revocation.database.query("DELETE FROM device_certificates WHERE device_id = 'pump-1'");
    settings.run(&["crl", "publish"]);
    revocation.database.query("DELETE FROM devices WHERE device_id = 'pump-2'");
    revocation.wait_proven("pump-2", REVOCATION_AFTER_REPAIR);
    assert!(
        !revocation.stack.lets_in("pump-1"),
        "the row of its certificate is gone, the revocation is not"
    );
    assert!(!revocation.stack.lets_in("pump-2"), "its device is gone");
    assert_eq!(revocation.takeovers("pump-2"), 1, "the live session was ended");
    assert_eq!(
        revocation.database.value("SELECT revoked_reason FROM device_certificates"),
        "cessationOfOperation"
    );
}
