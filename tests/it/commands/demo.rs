//! The demo's sum: what the simulated fleet published is in the database, row by row, also when it
//! is run again; and the device that is revoked on the way is out, each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::compose::stack::Stack;
use crate::console::browser::Browser;
use crate::revocation::revocation_stack::RevocationStack;
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::port;
use crate::support::postgres::Postgres;
use crate::support::wait;

/// The access rule of the demo's marker message; scripts/mtls.sh adds it too.
const MARKER_RULE: &str = "\nuser sluice\ntopic write tenant/sluice-demo/device/marker/commands\n";

/// Every reason the fleet gives cause for.
const REASONS: [&str; 14] = [
    "BAD_PAYLOAD",
    "BAD_TIMESTAMP",
    "BAD_TOPIC_FORMAT",
    "DEVICE_REVOKED",
    "PAYLOAD_TOO_LARGE",
    "RATE_LIMITED",
    "SITE_MISMATCH_REGISTRY_VS_PAYLOAD",
    "STORE_REJECTED",
    "TENANT_MISMATCH_TOPIC_VS_PAYLOAD",
    "TIMESTAMP_OUT_OF_RANGE",
    "TOKEN_INVALID",
    "TOKEN_MISSING",
    "TOKEN_NOT_SET_IN_REGISTRY",
    "UNREGISTERED_DEVICE",
];

fn count(database: &Database<'_>, table: &str) -> u64 {
    database.value(&format!("SELECT count(*) FROM {table}")).parse().unwrap()
}

/// The user names of a fleet with six devices that behave, and the one that answers a command.
fn fleet() -> Vec<String> {
    let good = "climate-0 meter-0 door-0 climate-1 meter-1 door-1 stolen valve";
    let faulty = "wrong-token no-token unregistered revoked other-tenant moved-away odd-clock stopped-clock bad-payload \
        sends-nul too-large bad-topic sends-twice impostor bursts";
    let names = good.split(' ').chain(faulty.split_whitespace());
    names.map(|device| format!("sluice-demo/device/{device}")).collect()
}

/// The stack's broker, with these access rules and told of a CRL as the demo's is, and an empty
/// database.
fn prepared(rules: impl Fn(String) -> String) -> (RevocationStack, Settings) {
    let mut stack = Stack::prepared();
    stack.allow(&fleet());
    let rules = rules(stack.read("acl.conf")) + MARKER_RULE;
    fs::write(stack.path("acl.conf"), rules).unwrap();
    let pid_file = stack.launch_alone();
    let revocation = RevocationStack { stack, database: Postgres::shared().empty_database() };
    let settings = revocation
        .settings("sluice-demo")
        .set("CRL_OUTPUT_PATH", &revocation.stack.text("data/device-crl.pem"));
    (revocation, settings.set("BROKER_PID_FILE", pid_file.to_str().unwrap()))
}

/// Runs it for a moment; its summary.
fn run(settings: &Settings) -> Value {
    let arguments =
        ["demo", "--seconds", "6", "--devices", "6", "--rate", "600", "--log", "daemon.log"];
    let said = settings
        .run(&[&arguments[..], &["--certificates", "devices", "--output", "json"]].concat());
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(summary["adds_up"], true, "{summary}");
    assert_eq!(summary["reconnects"], 0, "{summary}");
    let [story] = &summary["revocations"].as_array().unwrap()[..] else {
        panic!("one device is revoked: {summary}")
    };
    assert_eq!(
        (&story["device"], &story["is_refused"]),
        (&"stolen".into(), &true.into()),
        "{story}"
    );
    for link in ["noticed_at", "published_at", "reloaded_at", "ended_at", "proven_at"] {
        assert!(story["chain"][link].is_string(), "{link}: {story}");
    }
    assert!(story["cut"]["after_seconds"].as_f64().unwrap() > 0.0, "{story}");
    assert_eq!(
        (&summary["revocations_held"], &summary["knocks_let_in"]),
        (&1.into(), &0.into()),
        "{summary}"
    );
    summary
}

#[test]
fn what_the_demo_publishes_is_stored_and_a_second_run_continues() {
    let (revocation, settings) = prepared(|rules| rules);
    let database = &revocation.database;
    let first = run(&settings);
    let number = |summary: &Value, name: &str| summary[name].as_u64().unwrap();
    let (stored, quarantined) =
        (count(database, "telemetry"), count(database, "quarantine_events"));
    assert_eq!((number(&first, "stored"), number(&first, "quarantined")), (stored, quarantined));
    assert!(number(&first, "duplicates") > 0, "{first}");
    assert!(number(&first, "refused") > 0, "no device publishes on another's topics: {first}");
    assert_eq!(
        (number(&first, "own_topic_refused"), number(&first, "foreign_topic_taken")),
        (0, 0),
        "{first}"
    );
    let kept = stored + quarantined + number(&first, "duplicates");
    let acknowledged = number(&first, "acknowledged");
    assert!(
        (acknowledged..=acknowledged + number(&first, "unanswered")).contains(&kept),
        "{first}"
    );
    let reasons = database.query("SELECT DISTINCT reason FROM quarantine_events ORDER BY reason");
    assert_eq!(reasons.concat(), REASONS);
    let late = "SELECT count(*) FROM telemetry t JOIN device_certificates c USING (tenant_id, device_id) \
        WHERE device_id = 'stolen' AND t.received_at > c.revoked_at + interval '1 second'";
    assert_eq!(database.value(late), "0", "nothing of it is stored any more");
    let key = settings.dir().path().join("devices/sluice-demo/stolen.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    // As an older version may have left it: at another place, and with another certificate.
    database
        .query("UPDATE devices SET site_id = 'elsewhere', provision_token_hash = NULL WHERE device_id = 'climate-0'");
    fs::remove_file(settings.dir().path().join("devices/sluice-demo/meter-1.pem")).unwrap();
    let (devices, before) = (count(database, "devices"), count(database, "device_certificates"));
    let mismatches = "SELECT count(*) FROM quarantine_events WHERE device_id = 'climate-0'";
    let second = run(&settings);
    assert_eq!(count(database, "telemetry"), stored + number(&second, "stored"));
    assert_eq!((count(database, "devices"), database.value(mismatches)), (devices, "0".to_owned()));
    assert_eq!(
        count(database, "device_certificates"),
        before + 2,
        "the stolen one's, and the lost one's"
    );
    assert!(
        fs::read_to_string(settings.dir().path().join("daemon.log")).unwrap().contains("stopped")
    );
}

#[test]
fn a_device_of_the_demo_answers_a_command_and_renews_its_certificate() {
    let (revocation, settings) = prepared(|rules| rules);
    let settings = settings.set("DEVICE_API", "1").set("CERT_RENEW_OVER_MQTT", "1");
    let summary = run(&settings);
    let answered = &summary["way_back"];
    assert_eq!(answered["device"], "valve", "{summary}");
    let command = &answered["command"]["Ok"];
    let [delivered, acknowledged] =
        ["delivered_ms", "acknowledged_ms"].map(|name| command[name].as_f64().unwrap());
    assert!(0.0 < delivered && delivered < acknowledged, "{answered}");
    assert!(answered["renewal_ms"]["Ok"].as_f64().unwrap() > 0.0, "{answered}");
    let database = &revocation.database;
    let status =
        "SELECT command_type || ' ' || status FROM device_commands WHERE device_id = 'valve'";
    assert_eq!(database.value(status), "open ACKNOWLEDGED");
    let rows = "SELECT string_agg(status, ' ' ORDER BY status) FROM device_certificates WHERE device_id = 'valve'";
    assert_eq!(database.value(rows), "ACTIVE REVOKED");
    // The next run uses the renewed certificate.
    run(&settings);
    assert_eq!(database.value(rows), "ACTIVE REVOKED REVOKED");
}

#[test]
fn the_link_of_a_running_demo_signs_in_and_its_unknown_device_can_be_added() {
    let (revocation, settings) = prepared(|rules| rules);
    let settings = settings.set("HTTP_BIND", &format!("127.0.0.1:{}", port::free()));
    let output = settings.dir().path().join("demo.out");
    let arguments =
        ["demo", "--seconds", "12", "--devices", "6", "--rate", "200", "--log", "daemon.log"];
    let mut demo = settings
        .command(&[&arguments[..], &["--certificates", "devices"]].concat())
        .stdout(fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let link = wait::for_ok("the demo prints a link", || {
        let text = fs::read_to_string(&output).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("console "));
        line.map(|link| link.trim().to_owned()).ok_or(text)
    });
    let origin = format!("http://127.0.0.1:{}/console/link?code=", settings.port("HTTP_BIND"));
    let code = link.strip_prefix(&origin).unwrap_or_else(|| panic!("{link}"));
    let browser = Browser::new(settings.port("HTTP_BIND"));
    assert_eq!(browser.post("/console/link", &[("code", code)]).redirected(), "/console");
    browser.read_token();
    let database = &revocation.database;
    let refused = "SELECT count(*) > 0 FROM quarantine_events WHERE device_id = 'unregistered'";
    database.wait_until(refused, "t");
    let fields = [("search", "device:unregistered"), ("device", "sluice-demo/unregistered")];
    browser.post("/console/quarantine/devices", &fields).redirected();
    // Its certificate authenticates it at once.
    let stored = "SELECT count(*) > 0 FROM telemetry WHERE device_id = 'unregistered'";
    database.wait_until(stored, "t");
    let body = json!({ "tenant": "sluice-demo", "device": "unregistered" });
    let replayed = browser.api("POST", "/quarantine/replay", Some(&body)).ok(200);
    assert_eq!(replayed["items"][0]["result"], "stored", "{replayed}");
    // The questions that the console can answer in the demo.
    let added = "SELECT actor LIKE 'cli:%' FROM audit_log WHERE action = 'device.add' AND device_id = 'pump-1'";
    assert_eq!(database.value(added), "t");
    let ending = "SELECT count(*) FROM device_certificates WHERE status = 'ACTIVE' AND not_after < now() + interval '31 days'";
    assert_eq!(database.value(ending), "2", "pump-2 and pump-3");
    let silent = "SELECT count(*) FROM device_state WHERE last_seen_at < now() - interval '1 hour'";
    assert_eq!(database.value(silent), "3", "pump-1, pump-2 and pump-3");
    let ended = demo.wait().unwrap();
    let said = fs::read_to_string(&output).unwrap();
    assert!(ended.success() && said.contains(" replayed"), "{ended}: {said}");
}

/// How it ends with these access rules, which are wrong; the summary.
fn fails(rules: impl Fn(String) -> String, why: &str) -> Value {
    let (_site, settings) = prepared(rules);
    let arguments = [
        "demo",
        "--seconds",
        "4",
        "--devices",
        "6",
        "--log",
        "daemon.log",
        "--certificates",
        "devices",
    ];
    let output =
        settings.command(&[&arguments[..], &["--output", "json"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("FAILED: {why}")), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_broker_that_refuses_devices_their_own_topics_fails_the_demo() {
    let no_device = |rules: String| {
        rules
            .replace("write tenant/%u/", "write else/%u/")
            .replace("write tenant/sluice-demo/", "write else/")
    };
    let summary = fails(no_device, "the broker refused");
    assert!(summary["own_topic_refused"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!((&summary["stored"], &summary["adds_up"]), (&0.into(), &true.into()), "{summary}");
}

#[test]
fn a_broker_that_lets_a_device_into_anothers_topics_fails_the_demo() {
    let summary = fails(
        |rules| rules + "\npattern write tenant/sluice-demo/device/+/#\n",
        "the broker accepted",
    );
    assert!(summary["foreign_topic_taken"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary["stored"].as_u64().unwrap() > 0, "{summary}");
}

#[test]
fn without_a_broker_the_demo_says_so_at_once_and_starts_nothing() {
    let database = Postgres::shared().empty_database();
    let settings = Settings::empty().set("DATABASE_URL", &database.url());
    let settings =
        settings.set("MQTT_HOST", "127.0.0.1").set("MQTT_PORT", &port::free().to_string());
    let output = settings.command(&["demo", "--log", "daemon.log"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("MQTT_PORT"), "{said}");
    assert!(!settings.dir().path().join("daemon.log").exists());
}
