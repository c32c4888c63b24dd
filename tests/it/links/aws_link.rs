//! A daemon with a link to AWS IoT Core as a guest of Cognito: both directions, credentials that end
//! all the time, and an outage of Cognito.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use sluice::clock;
use sluice::domain::time::Timestamp;

use super::aws::{AwsGate, SECRET_KEY, TOKEN_START, amazon, amazon_listener, tokens};
use super::linked::{linked, publish};
use crate::support::device::Device;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

/// Credentials that are renewed after six seconds.
const SHORT: [&str; 2] = ["--life", "8"];

const RULES: &str = "publish = [{ from = \"tenant/+/device/+/telemetry\", to = \"public/{device}\", mode = \"raw\" }]\n\
    ingest = [{ filter = \"public/in/+\", tenant = \"acme\", device = \"{3}\", type = \"telemetry\" }]\n";

const UP: &str = "sluice_link_up{lane=\"0\",link=\"aws\"}";

/// What `sluice link status` prints; its exit code says whether the link is up.
fn status(it: &TestDaemon) -> String {
    let line = ["link", "status", "--output", "json"];
    String::from_utf8(it.settings.command(&line).output().unwrap().stdout).unwrap()
}

/// Nothing that the daemon shows holds a secret key, a session token or a signature.
fn assert_no_secret(it: &TestDaemon, aws: &AwsGate) {
    let rows = it
        .database
        .value("SELECT coalesce(string_agg(link_status::text, ''), '') FROM link_status");
    let shown = [
        ("log", it.daemon.log()),
        ("metrics", it.daemon.get("/metrics").unwrap().1),
        ("readiness", it.daemon.get("/readyz").unwrap().1),
        ("status", status(it)),
        ("rows", rows),
    ];
    assert!(!tokens(aws).is_empty());
    for (place, text) in shown {
        assert!(!text.is_empty(), "{place}");
        for secret in [SECRET_KEY, TOKEN_START, "X-Amz-Signature"] {
            assert!(!text.contains(secret), "{secret} is in the {place}: {text}");
        }
    }
}

fn is_over(end: f64) -> bool {
    clock::now().seconds_since(Timestamp::default()) > end
}

/// A run of Amazon's client with a session token that is good for the whole test.
fn amazon_wish(aws: &AwsGate, more: &Value) -> Value {
    let mut wish = aws.client("public-amazon", more);
    wish["token"] = json!("amazon");
    wish
}

#[test]
fn a_guest_link_lives_through_renewals_and_an_outage_of_cognito() {
    let (mut aws, mut cognito) = AwsGate::with_cognito(&SHORT);
    aws.admit("amazon");
    let login = cognito.login();
    let it = linked(&aws.link("aws", "public-gate-1", &format!("{login}{RULES}")));
    it.daemon.wait_metric(UP, 1.0);
    let wish = amazon_wish(&aws, &json!({ "subscribe": ["public/d0"] }));
    let mut listener = amazon_listener(wish);
    let mut device = Device::connect(it.broker.port(), "devices");
    publish(&mut device, "d0", [1]);
    listener.wait_for("\\\"seq\\\":1");

    let event = json!({ "seq": 7, "ts": clock::now().to_string(), "metrics": { "t": 1 } });
    let publish_it = json!({ "publish": [["public/in/d5", event.to_string()]] });
    let mut wish = amazon_wish(&aws, &publish_it);
    wish["client_id"] = json!("public-amazon-2");
    let sent = amazon(&wish);
    assert!(sent.iter().any(|line| line["code"] == 0), "{sent:?}");
    let row = "SELECT device_id || ' ' || link FROM telemetry WHERE link IS NOT NULL";
    it.database.wait_until(row, "d5 aws");

    // Credentials are renewed, and the connection stays.
    wait::until("a renewal", || cognito.count("GetCredentialsForIdentity") >= 2);
    let connects = aws.gate.json().into_iter().filter(|line| line["connect"] == "public-gate-1");
    assert_eq!((connects.count(), cognito.count("GetId")), (1, 1));
    drop(listener);

    // Cognito is away until the credentials have ended, and the connection is cut: nothing is signed
    // with them.
    cognito.stop();
    let (_, end) = tokens(&aws).pop().unwrap();
    wait::until("the credentials have ended", || is_over(end));
    aws.cut();
    publish(&mut device, "d0", [2]);
    let log = || it.daemon.log();
    wait::until("the log names Cognito", || log().contains("GetCredentialsForIdentity at"));
    assert!(aws.upgrades().is_empty(), "{:?}", aws.upgrades());
    assert_eq!(it.daemon.get("/readyz").unwrap().0, 200);
    assert_no_secret(&it, &aws);

    cognito.start_again();
    it.daemon.wait_metric(UP, 1.0);
    it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    let upgrades = aws.upgrades();
    assert!(upgrades.iter().all(|line| line["upgrade"] == 101), "{upgrades:?}");
    assert_eq!(cognito.count("GetId"), 1, "the identity is kept");
    let kept = "SELECT count(*) FROM link_identity WHERE link = 'aws'";
    assert_eq!(it.database.value(kept), "1");
    assert_no_secret(&it, &aws);
}

#[test]
fn a_wrong_clock_is_named_and_nothing_local_suffers() {
    let aws = AwsGate::with(&["--skew", "600"]);
    let section =
        "[default]\naws_access_key_id = TESTACCESSKEY12345\naws_secret_access_key = ABCSECRETKEY\n";
    let keys = aws.dir.write("credentials", section);
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    let login = format!(
        "auth = \"sigv4\"\nregion = \"us-east-1\"\ncredentials_file = \"{}\"\n{RULES}",
        keys.display()
    );
    let it = linked(&aws.link("aws", "public-gate-1", &login));
    let state = "sluice_link_state{link=\"aws\",state=\"refused\"}";
    it.daemon.wait_metric(state, 1.0);
    let named = "s behind the server's (";
    wait::until(named, || it.daemon.log().contains(named));
    let mut device = Device::connect(it.broker.port(), "devices");
    publish(&mut device, "d0", [1, 2, 3]);
    it.database.wait_until("SELECT count(*) FROM telemetry", "3");
    // Between two attempts the link is connecting, and says nothing of the last one.
    let clock = "the clock of this machine (";
    let status = wait::for_some("the status names the clock", || {
        Some(status(&it)).filter(|status| status.contains(clock))
    });
    assert!(!status.contains(SECRET_KEY) && !it.daemon.log().contains(SECRET_KEY));
}
