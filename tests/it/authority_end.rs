//! An authority near its end, and after it: said ahead by every voice there is, and afterwards
//! once.

use serde_json::Value;

use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

/// A daemon's settings with the places of an authority that is not there yet.
fn settings(broker: &Mosquitto, database: &Database<'_>) -> Settings {
    let settings = Settings::new(broker, database);
    let place = |name: &str| settings.dir().path().join(name).to_str().unwrap().to_owned();
    let [cert, key, crl] = ["ca.crt", "ca.key", "crl.pem"].map(place);
    settings
        .set("DEVICE_CA_CERT_PATH", &cert)
        .set("DEVICE_CA_KEY_PATH", &key)
        .set("CRL_OUTPUT_PATH", &crl)
}

/// What a command printed as JSON, and what it said beside.
fn told(settings: &Settings, line: &[&str]) -> (Value, String) {
    let output = settings.command(&[line, &["--output", "json"]].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")), said)
}

/// The finding of the doctor about the authority: its level and its words.
fn diagnosed(settings: &Settings) -> (String, String) {
    let (report, _) = told(settings, &["doctor"]);
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
fn an_authority_near_its_end_is_said_in_readiness_by_metric_by_commands_and_at_issue() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    database.query("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A')");
    database.query("INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')");
    let settings = settings(&broker, &database);
    settings.run(&["ca", "init", "--days", "60"]);
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric("sluice_ca_not_after_seconds", 1.7e9);
    let (status, body) = daemon.get("/readyz").unwrap();
    assert!(status == 200 && body.contains("warnings") && body.contains("ends at"), "{body}");
    let (level, words) = diagnosed(&settings);
    assert!(level == "warning" && words.contains("sluice ca init"), "{level} {words}");
    let (shown, _) = told(&settings, &["ca", "show"]);
    assert!(shown["warning"].as_str().unwrap().contains("ends at"), "{shown}");

    let issue = ["cert", "issue", "acme", "pump-1", "--new-key", "--key-out", "a.key"];
    let (issued, said) = told(&settings, &issue);
    assert_eq!(issued["ends_with_authority"], true, "{issued}");
    assert!(said.contains("ends with the authority"), "{said}");
    let issue =
        ["cert", "issue", "acme", "pump-1", "--new-key", "--key-out", "b.key", "--days", "30"];
    assert_eq!(told(&settings, &issue).0["ends_with_authority"], false);
}

#[test]
fn an_authority_that_has_ended_turns_readiness_red_and_is_not_logged_again_and_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let settings = settings(&broker, &database);
    settings.clone().with_clock("-2d").run(&["ca", "init", "--days", "1"]);
    let daemon = settings.start();
    daemon.wait_unready_for("\"authority\":");
    daemon.wait_unready_for("\"revocation\":");
    let (level, words) = diagnosed(&settings);
    assert!(level == "error" && words.contains("ended at"), "{level} {words}");
    let shown = settings.command(&["ca", "show"]).output().unwrap();
    assert!(
        !shown.status.success()
            && String::from_utf8(shown.stderr).unwrap().contains("is good from")
    );
    daemon.wait_unready_for("ended at");
    // One line of the watch, one of the publisher, however long it lasts.
    assert_eq!(daemon.terminate(), 0);
    let lines = daemon
        .log()
        .lines()
        .filter(|line| line.contains("ERROR") && line.contains("ended at"))
        .count();
    assert_eq!(lines, 2, "{}", daemon.log());
}
