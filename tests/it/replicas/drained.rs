//! A drain leaves nothing at the broker, loses nothing, and ends the daemon; or it is refused or given
//! up, and the daemon is a member as before.

use super::group::{Group, run, run_json};
use crate::faults::load::{Load, assert_each_once, counted, settle};
use crate::faults::lock::Lock;
use crate::support::wait;

const DRAINED: &str =
    "SELECT actor, detail ->> 'client_id' FROM audit_log WHERE action = 'replica.drain'";

#[test]
fn a_member_drained_under_load_leaves_nothing_and_loses_nothing() {
    let group = Group::new();
    let [first, (leaving, leaver), last] = group.members::<3>();
    let load = Load::start(&group.broker, &group.database, &["timed-1", "plain-1", "timed-2"]);
    load.grant(200);
    let drain = std::thread::scope(|scope| {
        let drain = scope.spawn(|| run_json(&leaving, &["drain"], 0));
        // It flows before, while and after the member leaves.
        for _ in 0..10 {
            load.wait_accepted(load.grant(100) - 50);
        }
        drain.join().unwrap()
    });
    assert_eq!((&drain["drained"], &drain["client_id"]), (&true.into(), &"sluice-1".into()));
    assert_eq!(leaver.wait(), 0, "{}", leaver.log());
    assert!(!group.has_row(1), "the row is removed");
    let audit = group.database.query(DRAINED);
    assert_eq!(audit, [["api".to_owned(), "sluice-1".to_owned()]]);
    load.grant(300);
    let accepted = load.finish();
    settle(&group.broker, &group.database, &[&first.1, &last.1]);
    assert_each_once(&group.database, &accepted);
    // The client id is free: it begins with a session of its own, and takes part again.
    let log = leaver.log().len();
    leaver.start_again();
    leaver.wait_ready();
    let begun = leaver.log();
    assert!(begun[log..].contains("the broker begins a new session"), "{}", &begun[log..]);
    settle(&group.broker, &group.database, &[&first.1, &leaver, &last.1]);
}

#[test]
fn what_waits_for_a_member_is_stored_before_it_ends() {
    let group = Group::new();
    let [stays, leaves] = group.members::<2>();
    leaves.1.kill9();
    group.publish("timed-1", 0..20_000);
    group.wait_rows("timed-1", 10_000);
    leaves.1.start_again();
    leaves.1.wait_ready();
    leaves.1.signal("USR1");
    assert_eq!(leaves.1.wait(), 0, "{}", leaves.1.log());
    group.wait_rows("timed-1", 20_000);
    assert!(!group.has_row(1));
    let audit = group.database.query(DRAINED);
    assert_eq!(audit, [["signal:USR1".to_owned(), "sluice-1".to_owned()]]);
    group.publish("timed-1", 20_000..20_100);
    group.wait_rows("timed-1", 20_100);
    drop(stays);
}

#[test]
fn while_a_member_drains_no_other_does_so_one_is_left() {
    let group = Group::new();
    let [(first, drains), (other, stays)] = group.members::<2>();
    // Its drain does not end before what it has received is stored.
    let lock = Lock::on(&group.database, "telemetry");
    group.publish("timed-1", 0..100);
    wait::until("it has received some", || counted(&drains, "sluice_inflight_unacked") > 0);
    let drained = std::thread::scope(|scope| {
        let drain = scope.spawn(|| run(&first, &["drain"]));
        wait::until("it drains", || counted(&drains, "sluice_draining") == 1);
        let (code, _, error) = run(&other, &["drain"]);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("another replica that subscribes to $share/g/"), "{error}");
        drop(lock);
        drain.join().unwrap()
    });
    assert_eq!(drained.0, 0, "{drained:?}");
    assert_eq!(drains.wait(), 0, "{}", drains.log());
    let (code, _, error) = run(&other, &["drain"]);
    assert!(code == 1 && error.contains("no other replica subscribes to"), "{error}");
    group.publish("timed-1", 100..200);
    group.wait_rows("timed-1", 200);
    stays.wait_ready();
}

#[test]
fn the_last_member_and_a_lone_daemon_are_not_drained_by_mistake() {
    let group = Group::new();
    let [(settings, daemon)] = group.members::<1>();
    let (code, _, error) = run(&settings, &["drain"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("no other replica subscribes to $share/g/"), "{error}");
    daemon.signal("USR1");
    wait::until("the log says why", || {
        daemon.log().contains("SIGUSR1 orders a drain, which is refused")
    });
    group.publish("timed-1", 0..10);
    group.wait_rows("timed-1", 10);
    let forced = run_json(&settings, &["drain", "--last"], 0);
    assert_eq!(forced["drained"], true, "{forced}");
    assert_eq!(daemon.wait(), 0);
    let (code, _, error) = run(&settings, &["drain"]);
    assert_eq!(code, 69, "{error}");

    let lone = group.settings(7).set("MQTT_SHARE_GROUP", "");
    let daemon = lone.start();
    daemon.wait_ready();
    let (code, _, error) = run(&lone, &["drain"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("MQTT_SHARE_GROUP is not set"), "{error}");
    assert_eq!(daemon.terminate(), 0);
    assert!(group.has_row(7), "a stop keeps the session");
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_and_the_member_stores_as_before() {
    let group = Group::new();
    let stays = group.settings(0).start();
    let settings = group.settings(1).set("DRAIN_PATIENCE_SECONDS", "3");
    let daemon = settings.start();
    stays.wait_ready();
    daemon.wait_ready();
    group.publish("timed-1", 0..10);
    group.wait_rows("timed-1", 10);
    // Nothing can be stored, so what is received is not acknowledged.
    let lock = Lock::on(&group.database, "telemetry");
    group.publish("timed-2", 0..100);
    wait::until("the member has some of them", || counted(&daemon, "sluice_inflight_unacked") > 0);
    let drain = run_json(&settings, &["drain"], 1);
    assert_eq!(drain["drained"], false, "{drain}");
    assert!(drain["detail"].as_str().unwrap().contains("DRAIN_PATIENCE_SECONDS=3"), "{drain}");
    drop(lock);
    group.wait_rows("timed-2", 100);
    let before = counted(&daemon, "sluice_messages_received_total");
    group.publish("timed-2", 100..200);
    group.wait_rows("timed-2", 200);
    assert!(counted(&daemon, "sluice_messages_received_total") > before, "it is a member");
    daemon.wait_ready();
    assert!(group.has_row(1));
}

#[test]
fn a_drain_outlasts_a_restart_of_the_broker_and_a_postgres_that_stores_nothing() {
    let group = Group::new();
    let [stays, leaves] = group.members::<2>();
    leaves.1.kill9();
    group.publish("timed-1", 0..4_000);
    group.wait_rows("timed-1", 2_000);
    let lock = Lock::on(&group.database, "telemetry");
    leaves.1.start_again();
    wait::until("it has received what waits", || {
        leaves.1.get("/readyz").is_ok() && counted(&leaves.1, "sluice_inflight_unacked") > 0
    });
    leaves.1.signal("USR1");
    wait::until("it drains", || leaves.1.log().contains("a drain is ordered"));
    group.broker.stop();
    group.broker.start_again();
    drop(lock);
    assert_eq!(leaves.1.wait(), 0, "{}", leaves.1.log());
    group.wait_rows("timed-1", 4_000);
    assert!(!group.has_row(1));
    drop(stays);
}

#[test]
fn the_work_of_a_drained_replica_passes_to_another() {
    const PUBLISHES: &str = "this replica publishes the commands and documents";
    let group = Group::new();
    let leaving = group.settings(1);
    let leaver = leaving.start();
    leaver.wait_ready();
    wait::until("it publishes", || leaver.log().contains(PUBLISHES));
    let stays = group.settings(0).start();
    stays.wait_ready();
    assert!(!stays.log().contains(PUBLISHES));
    assert_eq!(run_json(&leaving, &["drain"], 0)["drained"], true);
    assert_eq!(leaver.wait(), 0);
    wait::until("the other publishes", || stays.log().contains(PUBLISHES));
}
