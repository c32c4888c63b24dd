//! What outlives a run at the broker: changed settings replace the former subscription, and a
//! session that is gone is reported.

use std::ops::Range;

use crate::faults::load::{
    self, Numbers, assert_each_once, counted, message, register, settings, settle,
};
use crate::support::daemon::{Daemon, Settings};
use crate::support::database::Database;
use crate::support::device::{Device, Fate};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

const LOST: &str = "sluice_mqtt_session_lost_total";
const FILTERS: &str = "SELECT filters::text FROM broker_sessions";
const WIDE: &str = "tenant/+/device/+/#";

/// A device whose messages carry no time of their own, so that nothing but the number of
/// subscriptions decides how often each is stored.
const DEVICE: &str = "plain-1";

fn setup() -> (Mosquitto, Database<'static>) {
    let (broker, database) =
        (Mosquitto::start(MosquittoOptions::default()), Postgres::shared().database());
    register(&database, &[DEVICE]);
    (broker, database)
}

/// Publishes the messages with these numbers.
fn publish(broker: &Mosquitto, numbers: Range<u64>) {
    let messages: Vec<_> = numbers.map(|number| message(DEVICE, number)).collect();
    let fates = Device::connect(broker.port(), DEVICE).publish_all(&messages);
    assert!(fates.iter().all(|fate| *fate == Fate::Accepted), "{fates:?}");
}

fn all(count: u64) -> Numbers {
    (0..count).map(|number| (DEVICE.to_owned(), number)).collect()
}

fn start(settings: &Settings) -> Daemon {
    let daemon = settings.start();
    daemon.wait_ready();
    daemon
}

/// Nothing can be noted in `broker_sessions`. The schema stays as readiness wants it.
const REFUSE_WRITES: &str = "CREATE FUNCTION refuse_writes() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN RAISE EXCEPTION ''not now''; END'; \
     CREATE TRIGGER refuse_writes BEFORE INSERT OR UPDATE OR DELETE ON broker_sessions \
     FOR EACH ROW EXECUTE FUNCTION refuse_writes()";
const ALLOW_WRITES: &str = "DROP TRIGGER refuse_writes ON broker_sessions";

#[test]
fn a_daemon_that_joins_a_share_group_gives_up_its_own_subscription() {
    let (broker, database) = setup();
    let settings = settings(&broker, &database).set("MQTT_CLIENT_ID", "one");
    let alone = start(&settings);
    assert_eq!(alone.terminate(), 0);
    // The session keeps these; nothing of it is lost with the change.
    publish(&broker, 0..20);
    let shared = |settings: Settings, id| {
        settings.set("MQTT_CLIENT_ID", id).set("MQTT_SHARE_GROUP", "group")
    };
    let one = start(&shared(settings, "one"));
    let other = start(&shared(load::settings(&broker, &database), "other"));
    for id in ["one", "other"] {
        let filters = format!("SELECT filters::text FROM broker_sessions WHERE client_id = '{id}'");
        database.wait_until(&filters, &format!("{{$share/group/{WIDE}}}"));
    }
    publish(&broker, 20..120);
    settle(&broker, &database, &[&one, &other]);
    assert_each_once(&database, &all(120));
    assert!(one.log().contains("the broker removed the former subscription"), "{}", one.log());
    assert!(one.log().contains("the broker resumes the session"), "{}", one.log());
    assert_eq!(counted(&one, LOST), 0);
}

#[test]
fn each_change_of_the_subscription_replaces_the_former_one() {
    let (broker, database) = setup();
    let settings = settings(&broker, &database);
    let narrow = "tenant/acme/device/+/#";
    let steps = [
        (WIDE, None),
        (narrow, None),
        (narrow, Some("g")),
        (narrow, Some("h")),
        (WIDE, None),
        (narrow, None),
    ];
    for ((topic, group), number) in steps.into_iter().zip(0..) {
        let mut changed = settings.clone().set("MQTT_TOPIC", topic);
        let mut filter = topic.to_owned();
        if let Some(group) = group {
            changed = changed.set("MQTT_SHARE_GROUP", group);
            filter = format!("$share/{group}/{topic}");
        }
        let daemon = start(&changed);
        database.wait_until(FILTERS, &format!("{{{filter}}}"));
        let mut device = Device::connect(broker.port(), "other");
        device.publish("tenant/other/device/other/telemetry", "{}");
        publish(&broker, number..number + 1);
        settle(&broker, &database, &[&daemon]);
        assert_each_once_of(&database, number + 1);
        let seen = if topic == WIDE { 3 } else { 2 };
        assert_eq!(counted(&daemon, "sluice_messages_received_total"), seen, "{topic} {group:?}");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn a_run_killed_before_it_recorded_its_subscription_leaves_none_behind() {
    let (broker, database) = setup();
    let settings = settings(&broker, &database);
    assert_eq!(start(&settings).terminate(), 0);
    broker.stop();
    let second = settings.clone().set("MQTT_SHARE_GROUP", "second").start();
    // It is recorded before the broker receives it.
    database.wait_until(FILTERS, &format!("{{{WIDE},$share/second/{WIDE}}}"));
    database.query(REFUSE_WRITES);
    broker.start_again();
    second.wait_ready();
    wait::until("it has given up the first", || {
        second.log().contains("removed the former subscription")
    });
    second.kill9();
    database.query(ALLOW_WRITES);
    let third = start(&settings.set("MQTT_SHARE_GROUP", "third"));
    database.wait_until(FILTERS, &format!("{{$share/third/{WIDE}}}"));
    publish(&broker, 0..50);
    settle(&broker, &database, &[&third]);
    assert_each_once(&database, &all(50));
}

#[test]
fn a_row_that_cannot_be_written_holds_up_no_message_and_is_written_later() {
    let (broker, database) = setup();
    broker.stop();
    let daemon = settings(&broker, &database).start();
    database.wait_until(FILTERS, &format!("{{{WIDE}}}"));
    database.query(REFUSE_WRITES);
    broker.start_again();
    daemon.wait_ready();
    wait::until("it says so", || {
        daemon.log().contains("cannot store the subscriptions of the broker session")
    });
    publish(&broker, 0..50);
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &all(50));
    database.query(ALLOW_WRITES);
    database
        .wait_until("SELECT broker FROM broker_sessions", &format!("127.0.0.1:{}", broker.port()));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_session_lost_while_the_daemon_was_away_is_logged_and_counted() {
    let (broker, database) = setup();
    let settings = settings(&broker, &database);
    let daemon = start(&settings);
    assert_eq!(counted(&daemon, LOST), 0);
    assert!(daemon.log().contains("the broker begins a new session"), "{}", daemon.log());
    assert_eq!(daemon.terminate(), 0);
    publish(&broker, 0..10);
    broker.kill9();
    // Whatever it saved.
    let _there_may_be_none = std::fs::remove_file(broker.dir().path().join("mosquitto.db"));
    broker.start_again();
    daemon.start_again();
    daemon.wait_ready();
    assert_eq!(counted(&daemon, LOST), 1);
    let warned = daemon
        .log()
        .lines()
        .any(|line| line.contains("WARN") && line.contains("the broker lost the session"));
    assert!(warned, "{}", daemon.log());
    publish(&broker, 10..20);
    settle(&broker, &database, &[&daemon]);
    assert_eq!(database.value("SELECT count(*) FROM telemetry WHERE device_id = 'plain-1'"), "10");
}

#[test]
fn a_session_kept_over_an_orderly_restart_of_both_is_no_loss() {
    let (broker, database) = setup();
    let daemon = start(&settings(&broker, &database));
    assert_eq!(daemon.terminate(), 0);
    publish(&broker, 0..10);
    broker.stop();
    broker.start_again();
    daemon.start_again();
    daemon.wait_ready();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &all(10));
    assert_eq!(counted(&daemon, LOST), 0);
}

/// The messages before this number are there once each.
fn assert_each_once_of(database: &Database<'_>, count: u64) {
    let sql =
        format!("SELECT count(*), count(DISTINCT seq) FROM telemetry WHERE device_id = '{DEVICE}'");
    assert_eq!(database.query(&sql), [[count.to_string(), count.to_string()]]);
}
