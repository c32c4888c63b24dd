//! The simulator's check: it finds what it sent, says by number what is gone or there twice, and
//! expects each refusal.

use serde_json::Value;
use sluice::domain::refusal::Reason;

use crate::compose::stack::Stack;
use crate::revocation::revocation_stack::RevocationStack;
use crate::support::daemon::Settings;
use crate::support::database::Database;
use crate::support::postgres::Postgres;
use crate::support::test_daemon::TestDaemon;

/// A daemon on an empty database, which it migrates.
fn daemon(settings: &[(&str, &str)]) -> TestDaemon {
    TestDaemon::builder().broker().empty_database().with(settings).start_ready()
}

/// Runs the simulator; its exit code and its summary.
fn simulate(settings: &Settings, arguments: &[&str]) -> (i32, Value) {
    let output = settings.command(&[&["simulate", "--json"], arguments].concat()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = serde_json::from_str(&printed);
    (output.status.code().unwrap(), summary.unwrap_or_else(|_| panic!("{printed}{output:?}")))
}

/// Looks again for what an earlier run sent.
fn look_again(settings: &Settings, summary: &Value) -> (i32, Value) {
    let file = settings.dir().write("summary.json", summary.to_string());
    simulate(settings, &["--verify", "--of", file.to_str().unwrap()])
}

#[test]
fn every_message_is_found_and_every_refusal_is_the_expected_one() {
    let TestDaemon { database, settings, .. } = &daemon(&[]);
    let reasons = "BAD_TOPIC_FORMAT,PAYLOAD_TOO_LARGE,BAD_PAYLOAD,UNSUPPORTED_VERSION,TENANT_MISMATCH_TOPIC_VS_PAYLOAD,\
        DEVICE_MISMATCH_TOPIC_VS_PAYLOAD,BAD_TIMESTAMP,TIMESTAMP_OUT_OF_RANGE,UNREGISTERED_DEVICE,DEVICE_REVOKED,\
        DEVICE_INACTIVE,SITE_MISMATCH_REGISTRY_VS_PAYLOAD,TOKEN_NOT_SET_IN_REGISTRY,TOKEN_MISSING,TOKEN_INVALID,STORE_REJECTED";
    let fleet = [
        "--devices",
        "40",
        "--tenants",
        "3",
        "--rate",
        "0",
        "--messages",
        "3000",
        "--bad",
        "0.2",
        "--verify",
    ];
    let (code, summary) = simulate(settings, &[&fleet[..], &["--reasons", reasons]].concat());
    assert_eq!(code, 0, "{summary}");
    assert_eq!(summary["sent"], 3000);
    assert_eq!(summary["findings"]["stored"], 2400, "{summary}");
    let quarantined = summary["findings"]["quarantined"].as_object().unwrap();
    assert_eq!(quarantined.len(), reasons.split(',').count());
    assert_eq!(database.value("SELECT count(*) FROM telemetry"), "2400");
    assert_eq!(database.value("SELECT count(DISTINCT device_id) FROM telemetry"), "40");
}

#[test]
fn what_was_taken_away_or_is_there_twice_is_said_by_number() {
    let TestDaemon { database, settings, .. } =
        &daemon(&[("CERT_AUTH_ENABLED", "1"), ("REQUIRE_TOKEN", "0")]);
    let fleet = ["--devices", "10", "--connections", "2", "--rate", "0", "--auth", "certificate"];
    let (code, summary) =
        simulate(settings, &[&fleet[..], &["--messages", "500", "--verify"]].concat());
    assert_eq!(code, 0, "{summary}");
    let first = summary["messages"]["numbers"][1][0].as_i64().unwrap();
    database.value(&format!(
        "WITH gone AS (DELETE FROM telemetry WHERE seq BETWEEN {first} + 10 AND {first} + 19) SELECT 1"
    ));
    database.value(&format!(
        "WITH again AS (INSERT INTO telemetry SELECT time, received_at, tenant_id, device_id, site_id, msg_type, seq, metrics, \
            extra, gen_random_uuid() FROM telemetry WHERE seq = {first} + 3) SELECT 1"
    ));
    let (code, found) = look_again(settings, &summary);
    assert_eq!(code, 1, "{found}");
    assert_eq!(found["missing_numbers"], serde_json::json!([[first + 10, first + 19]]));
    assert_eq!(found["doubled_numbers"], serde_json::json!([[first + 3, first + 3, 2]]));

    let devices = database.value("SELECT max(updated_at) FROM devices");
    let paced =
        ["--keep", "--rate", "2000", "--burst", "--qos", "0", "--messages", "1000", "--verify"];
    let (code, summary) =
        simulate(settings, &[&fleet[..4], &["--auth", "certificate"], &paced].concat());
    assert_eq!(code, 0, "{summary}");
    assert_eq!(
        database.value("SELECT max(updated_at) FROM devices"),
        devices,
        "--keep leaves the registry alone"
    );
}

#[test]
fn no_token_is_written_anywhere() {
    let TestDaemon { database, settings, .. } = &daemon(&[]);
    let (_, summary) =
        simulate(settings, &["--devices", "3", "--rate", "0", "--messages", "30", "--bad", "0.5"]);
    assert!(!summary.to_string().contains("provision_token"), "{summary}");
    let kept = "SELECT count(*) FROM devices WHERE provision_token_hash !~ '^[0-9a-f]{64}$'";
    assert_eq!(database.value(kept), "0");
    let (code, said) = {
        let output = settings.command(&["simulate", "--keep"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("--keep"), "{said}");
}

/// The user names of the devices that a simulated fleet of twelve in two tenants may have.
fn simulated() -> Vec<String> {
    let misbehaving = Reason::ALL
        .iter()
        .map(|reason| format!("x-{}", reason.label().to_ascii_lowercase().replace('_', "-")));
    let devices: Vec<String> =
        (0..12).map(|number| format!("d-{number:06}")).chain(misbehaving).collect();
    let of_tenant =
        |tenant| devices.iter().map(move |device| format!("sluice-sim-00{tenant}/device/{device}"));
    (0..2).flat_map(of_tenant).collect()
}

/// Each request gets its response, each command its acknowledgement, and two devices renew.
fn devices_ask_answer_and_renew(settings: &Settings, database: &Database<'_>, fleet: &[&str]) {
    let before = database.value("SELECT count(*) FROM telemetry");
    let (code, summary) = std::thread::scope(|scope| {
        let duties = ["--ask", "60", "--answer-commands", "--renew", "2"];
        let pace = ["--rate", "60", "--seconds", "5"];
        let run = scope.spawn(move || simulate(settings, &[fleet, &duties, &pace].concat()));
        database.wait_until(&format!("SELECT count(*) > {before} + 20 FROM telemetry"), "t");
        database.query(
            "INSERT INTO device_commands (tenant_id, device_id, command_id, command_type, params) \
             SELECT tenant_id, device_id, gen_random_uuid(), 'blink', '{}' FROM devices WHERE device_id LIKE 'd-%'",
        );
        run.join().unwrap()
    });
    assert_eq!(code, 0, "{summary}");
    let requests = &summary["requests"];
    assert!(requests["accepted"].as_u64().unwrap() > 200, "{summary}");
    assert_eq!(requests["accepted"], requests["requests"], "{summary}");
    assert!(requests["latency"]["p99_ms"].as_f64().unwrap() > 0.0, "{summary}");
    assert_eq!(requests["commands"], 12, "{summary}");
    database
        .wait_until("SELECT string_agg(DISTINCT status, ' ') FROM device_commands", "ACKNOWLEDGED");
    assert_eq!(
        (&summary["renewals"]["renewed"], &summary["renewals"]["failed"]),
        (&2.into(), &0.into()),
        "{summary}"
    );
}

#[test]
fn over_mutual_tls_a_fleet_publishes_and_is_removed_with_its_certificates() {
    let mut stack = Stack::prepared();
    stack.allow(&simulated());
    let pid_file = stack.launch_alone();
    let revocation = RevocationStack { stack, database: Postgres::shared().empty_database() };
    let settings = revocation
        .settings("sluice")
        .set("CRL_OUTPUT_PATH", &revocation.stack.text("data/device-crl.pem"));
    let settings = settings
        .set("BROKER_PID_FILE", pid_file.to_str().unwrap())
        .set("DEVICE_API", "1")
        .set("DEVICE_API_RPS", "100")
        .set("CERT_RENEW_OVER_MQTT", "1");
    let daemon = settings.start();
    daemon.wait_ready();
    let fleet =
        ["--tls", "--devices", "12", "--tenants", "2", "--certificates", "fleet", "--verify"];
    let some = ["--rate", "400", "--messages", "600", "--bad", "0.2"];
    let (code, summary) = simulate(&settings, &[&fleet[..], &some].concat());
    assert_eq!(code, 0, "{summary}");
    assert_eq!(
        (&summary["acknowledged"], &summary["refused"]),
        (&600.into(), &0.into()),
        "{summary}"
    );
    assert_eq!(summary["findings"]["stored"], 480, "{summary}");
    // All of the usual ones: the broker lets each of these devices in.
    assert_eq!(summary["findings"]["quarantined"].as_object().unwrap().len(), 11, "{summary}");
    let certificates = || {
        revocation
            .database
            .value("SELECT count(*) FROM device_certificates WHERE cert_pem IS NOT NULL")
    };
    assert_eq!(certificates(), "21", "all but the unregistered one and the revoked one");

    let (code, summary) =
        simulate(&settings, &[&fleet[..], &["--rate", "0", "--messages", "2000"]].concat());
    assert_eq!((code, &summary["findings"]["stored"]), (0, &2000.into()), "{summary}");
    assert_eq!(certificates(), "21", "the same certificates serve again");

    let gone = settings.run(&["simulate", "--disband", "--json"]);
    let gone: Value = serde_json::from_str(&gone).unwrap();
    assert_eq!(
        (&gone["tenants"], &gone["certificates_revoked"]),
        (&2.into(), &21.into()),
        "{gone}"
    );
    assert_eq!(revocation.database.value("SELECT count(*) FROM devices"), "0");
    // At once: it waits until those that were removed are out.
    let (code, summary) =
        simulate(&settings, &[&fleet[..], &["--rate", "200", "--messages", "100"]].concat());
    assert_eq!((code, &summary["findings"]["stored"]), (0, &100.into()), "{summary}");

    devices_ask_answer_and_renew(&settings, &revocation.database, &fleet);

    let proven = "SELECT count(*) FROM certificate_revocations WHERE proven_at IS NOT NULL";
    revocation.database.wait_until(proven, "23");

    let without_tls = settings.command(&["simulate", "--ask", "1"]).output().unwrap();
    assert_eq!(without_tls.status.code(), Some(64), "{without_tls:?}");
    let too_many = settings.command(&["simulate", "--tls", "--devices", "501"]).output().unwrap();
    let said = String::from_utf8(too_many.stderr).unwrap();
    assert!(too_many.status.code() == Some(64) && said.contains("500"), "{said}");
}
