//! An authority near its end and after it: every surface warns ahead, and afterwards the log reports
//! it once.

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::test_daemon::TestDaemon;

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'); \
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')";

/// The JSON that a command printed, and its standard error.
fn printed(settings: &Settings, line: &[&str]) -> (Value, String) {
    let output = settings.command(&[line, &["--output", "json"]].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")), said)
}

/// The finding of the doctor about the authority: its level and its text.
fn diagnosed(settings: &Settings) -> (String, String) {
    let (report, _) = printed(settings, &["doctor"]);
    let row = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["check"] == "authority")
        .unwrap()
        .clone();
    (row["level"].as_str().unwrap().to_owned(), row["finding"].as_str().unwrap().to_owned())
}

#[test]
fn an_authority_near_its_end_is_reported_on_every_surface() {
    let TestDaemon { daemon, settings, .. } =
        &TestDaemon::builder().broker().registry(REGISTRY).authority(60).start_ready();
    daemon.wait_metric("sluice_ca_not_after_seconds", 1.7e9);
    let (status, body) = daemon.get("/readyz").unwrap();
    assert!(status == 200 && body.contains("warnings") && body.contains("expires at"), "{body}");
    let (level, words) = diagnosed(settings);
    assert!(level == "warning" && words.contains("sluice ca init"), "{level} {words}");
    let (shown, _) = printed(settings, &["ca", "show"]);
    assert!(shown["warning"].as_str().unwrap().contains("expires at"), "{shown}");

    let issue = ["cert", "issue", "acme", "pump-1", "--new-key", "--key-out", "a.key"];
    let (issued, said) = printed(settings, &issue);
    assert_eq!(issued["ends_with_authority"], true, "{issued}");
    assert!(said.contains("expires with the authority"), "{said}");
    let issue =
        ["cert", "issue", "acme", "pump-1", "--new-key", "--key-out", "b.key", "--days", "30"];
    assert_eq!(printed(settings, &issue).0["ends_with_authority"], false);
}

#[test]
fn an_expired_authority_turns_readiness_red_and_is_logged_once() {
    let start = TestDaemon::builder().broker().database().authority_paths();
    start.settings().clone().with_clock("-2d").run(&["ca", "init", "--days", "1"]);
    let TestDaemon { daemon, settings, .. } = &start.start();
    daemon.wait_unready_for("\"authority\":");
    daemon.wait_unready_for("\"revocation\":");
    let (level, words) = diagnosed(settings);
    assert!(level == "error" && words.contains("expired at"), "{level} {words}");
    let shown = settings.command(&["ca", "show"]).output().unwrap();
    assert!(
        !shown.status.success()
            && String::from_utf8(shown.stderr).unwrap().contains("is valid from")
    );
    daemon.wait_unready_for("expired at");
    // One line of the watch, one of the publisher, however long it lasts.
    assert_eq!(daemon.terminate(), 0);
    let lines = daemon
        .log()
        .lines()
        .filter(|line| line.contains("ERROR") && line.contains("expired at"))
        .count();
    assert_eq!(lines, 2, "{}", daemon.log());
}
