//! A member that is gone: every surface says so, `sluice adopt` stores what waits for it, and a member
//! that comes back is not fought.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::group::{Group, run, run_json};
use crate::faults::load::{Load, assert_each_once, counted, message, register, settle};
use crate::faults::lock::Lock;
use crate::support::daemon::get;
use crate::support::device::{Device, Message};
use crate::support::wait;

const ORPHANS: &str = "sluice_orphan_sessions";

/// The time of an alarm by the setting of these tests: `ORPHAN_AFTER_SECONDS` and a sixth, as 70 s are
/// to 60, and the time of a busy machine.
const ALARM: Duration = Duration::from_secs(10);

#[test]
fn a_member_that_is_gone_is_named_on_every_surface_and_its_messages_are_adopted() {
    let group = Group::new();
    let [(one, alive), (_, gone)] = group.members::<2>();
    gone.kill9();
    let died = Instant::now();
    group.publish("timed-1", 0..400);
    group.wait_rows("timed-1", 200);
    alive.wait_metric(ORPHANS, 1.0);
    assert!(died.elapsed() < ALARM, "{:?}", died.elapsed());
    let (status, body) = alive.get("/readyz").unwrap();
    assert_eq!(status, 200, "it is a warning: {body}");
    assert!(body.contains("the replica sluice-1 was not seen for"), "{body}");
    assert!(body.contains("sluice adopt sluice-1"), "{body}");
    let doctor = run_json(&one, &["doctor"], 0);
    let row = doctor["findings"].as_array().unwrap().iter().find(|row| row["check"] == "replicas");
    assert_eq!(row.unwrap()["level"], "warning", "{doctor:#}");
    wait::for_ok("the overview shows it", || {
        let (status, body) = get(one.port("HTTP_BIND"), "/api/v1/overview").unwrap();
        let overview: Value = serde_json::from_str(&body).unwrap_or_default();
        let replicas = overview["replicas"].as_array();
        let found = replicas.and_then(|all| all.iter().find(|row| row["client_id"] == "sluice-1"));
        let is_shown = found.is_some_and(|row| row["state"] == "orphaned");
        if is_shown { Ok(()) } else { Err(format!("{status}: {body}")) }
    });

    let (code, _, error) = run(&one, &["adopt", "sluice-0"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("the replica sluice-0 was seen"), "{error}");
    let (code, _, error) = run(&one, &["adopt", "sluice-9"]);
    assert_eq!(code, 64, "{error}");
    let elsewhere = one.clone().set("MQTT_HOST", "localhost");
    let (code, _, error) = run(&elsewhere, &["adopt", "sluice-1"]);
    assert_eq!(code, 64, "{error}");
    assert!(error.contains("MQTT_HOST and MQTT_PORT name localhost"), "{error}");

    let adopted = run_json(&one, &["adopt", "sluice-1"], 0);
    // Of the doctor's probes some wait, too.
    assert!(adopted["messages"].as_u64().unwrap() >= 200, "{adopted}");
    assert_eq!(adopted["row_removed"], true, "{adopted}");
    group.wait_rows("timed-1", 400);
    assert!(!group.has_row(1));
    let actor = group.database.value("SELECT actor FROM audit_log WHERE action = 'replica.adopt'");
    assert!(actor.starts_with("cli:"), "{actor}");
    wait::until("no orphan is left", || counted(&alive, ORPHANS) == 0);
    wait::until("/readyz is calm", || !alive.get("/readyz").unwrap().1.contains("sluice-1"));
    // The broker deals all to the one that is left.
    group.publish("timed-1", 400..500);
    group.wait_rows("timed-1", 500);
}

#[test]
fn the_session_that_alone_keeps_messages_is_not_adopted() {
    let group = Group::new();
    let [(one, first), (_, second)] = group.members::<2>();
    first.kill9();
    second.kill9();
    group.publish("timed-1", 0..100);
    group.database.wait_until(
        "SELECT count(*) FROM broker_sessions WHERE seen_at < now() - interval '3 seconds'",
        "2",
    );
    let (code, _, error) = run(&one, &["adopt", "sluice-1"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("start a replica first"), "{error}");
    assert!(group.has_row(1));
    // With a member, which receives the next messages, it is.
    first.start_again();
    first.wait_ready();
    wait::for_ok("it is adopted", || match run(&one, &["adopt", "sluice-1"]) {
        (0, ..) => Ok(()),
        (code, _, error) => Err(format!("{code}: {error}")),
    });
    group.wait_rows("timed-1", 100);
}

#[test]
fn of_two_adopters_one_does_it() {
    let group = Group::new();
    let [(one, alive), (_, gone)] = group.members::<2>();
    gone.kill9();
    group.publish("timed-1", 0..20_000);
    group.wait_rows("timed-1", 10_000);
    alive.wait_metric(ORPHANS, 1.0);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let start = || scope.spawn(|| run(&one, &["adopt", "sluice-1"]));
        [start(), start()].map(|adopter| adopter.join().unwrap()).into()
    });
    let mut codes: Vec<_> = outcomes.iter().map(|(code, ..)| *code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{outcomes:?}");
    let refused = outcomes.iter().find(|(code, ..)| *code == 1).unwrap();
    assert!(refused.2.contains("another replica adopts the session of sluice-1"), "{refused:?}");
    group.wait_rows("timed-1", 20_000);
}

#[test]
fn a_member_that_comes_back_takes_its_session_from_the_adopter_and_nothing_is_lost() {
    let group = Group::new();
    let [(one, alive), (_, gone)] = group.members::<2>();
    let load = Load::start(&group.broker, &group.database, &["timed-1", "timed-2"]);
    load.wait_accepted(load.grant(100));
    gone.kill9();
    load.wait_accepted(load.grant(400));
    alive.wait_metric(ORPHANS, 1.0);
    // The adopter has received messages and can store none.
    let lock = Lock::on(&group.database, "telemetry");
    let (code, _, error) = std::thread::scope(|scope| {
        let adopter = scope.spawn(|| run(&one, &["adopt", "sluice-1"]));
        let connections = || group.broker.log().matches(" as sluice-1 ").count();
        wait::until("the adopter is connected", || connections() >= 2);
        gone.start_again();
        wait::until("the member is back", || connections() >= 3);
        drop(lock);
        adopter.join().unwrap()
    });
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("the replica is back"), "{error}");
    gone.wait_ready();
    let accepted = load.finish();
    settle(&group.broker, &group.database, &[&alive, &gone]);
    assert_each_once(&group.database, &accepted);
    assert!(group.has_row(1));
}

#[test]
fn with_the_setting_a_replica_adopts_by_itself() {
    let group = Group::new();
    let settings = group.settings(0).set("ADOPT_ORPHANS", "1");
    let alive = settings.start();
    let gone = group.settings(1).start();
    alive.wait_ready();
    gone.wait_ready();
    group.wait_noted(2);
    gone.kill9();
    group.publish("timed-1", 0..200);
    group.wait_rows("timed-1", 200);
    alive.wait_metric("sluice_adopted_sessions_total", 1.0);
    assert!(!group.has_row(1));
    wait::until("no orphan is left", || counted(&alive, ORPHANS) == 0);
    assert_eq!(counted(&alive, "sluice_messages_total{result=\"stored\"}"), 200);
    assert_eq!(counted(&alive, "sluice_messages_received_total"), 200);
}

#[test]
fn what_an_adopter_knows_of_a_device_is_not_what_the_lanes_know() {
    let group = Group::new();
    let [(_, first), (_, gone)] = group.members::<2>();
    gone.kill9();
    group.publish("timed-1", 0..20);
    group.wait_rows("timed-1", 10);
    // The next run of the first has seen no device yet.
    assert_eq!(first.terminate(), 0);
    register(&group.database, &["quiet-1"]);
    let alive = group.settings(0).set("ADOPT_ORPHANS", "1").start();
    alive.wait_ready();
    alive.wait_metric("sluice_adopted_sessions_total", 1.0);
    group.wait_rows("timed-1", 20);
    // The first entry of the lane's queue is that of a device without telemetry. Were the places shared,
    // the device that the adopter saw first would write into it.
    let mut device = Device::connect(group.broker.port(), "device");
    let begun = group.database.value("SELECT clock_timestamp()");
    device.publish("tenant/acme/device/quiet-1/shadow/reported", "{\"reported\":{\"on\":true}}");
    let Message { topic, payload, .. } = message("timed-1", 20);
    device.publish(std::str::from_utf8(&topic).unwrap(), payload);
    group.wait_rows("timed-1", 21);
    assert_eq!(alive.terminate(), 0);
    let seen = format!(
        "SELECT device_id, last_seen_at >= '{begun}', last_telemetry_at >= '{begun}' FROM device_state ORDER BY 1"
    );
    let rows = group.database.query(&seen);
    assert_eq!(rows, [["quiet-1", "t", "NULL"], ["timed-1", "t", "t"]]);
}
