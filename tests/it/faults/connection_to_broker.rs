//! The connection between the daemon and the broker, cut between commit and acknowledgement.

use super::load::{
    Load, assert_each_once, assert_each_once_but_plain, counted, settings, settle, wait_rows,
};
use super::lock::{LOCKED_OUT, Lock, wait_for_session};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

const DEVICES: [&str; 3] = ["timed-1", "plain-1", "stranger-1"];

#[test]
fn a_committed_message_whose_ack_is_lost_is_not_stored_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let proxy = Proxy::to(broker.port());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).set("MQTT_PORT", &proxy.port().to_string()).start();
    daemon.wait_ready();
    // Not of messages without a time of their own: whether the broker has read their
    // acknowledgements cannot be known.
    let load = Load::start(&broker, &database, &["timed-1", "timed-2", "stranger-1"]);
    for round in 1..=3_u32 {
        proxy.hold(Direction::ToServer);
        let published = load.grant(100);
        wait_rows(&database, 2 * published);
        database
            .wait_until("SELECT sum(cnt) FROM quarantine_counters_minute", &published.to_string());
        proxy.cut();
        proxy.release(Direction::ToServer);
        daemon.wait_metric("sluice_mqtt_reconnects_total", f64::from(round));
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    database.wait_until("SELECT sum(cnt) FROM quarantine_counters_minute", "300");
    assert_eq!(counted(&daemon, "sluice_messages_total{result=\"stored\"}"), 601, "and a marker");
    // At least one for each: an acknowledgement that is held up again is lost again.
    let duplicates = counted(&daemon, "sluice_messages_total{result=\"duplicate\"}");
    assert!(duplicates >= 900, "{duplicates} duplicates");
    assert_eq!(counted(&daemon, "sluice_messages_total{result=\"quarantined\"}"), 300);
}

#[test]
fn acks_of_an_ended_connection_are_void_and_nothing_is_stored_twice() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let proxy = Proxy::to(broker.port());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).set("MQTT_PORT", &proxy.port().to_string()).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &DEVICES);
    for round in 1..=3_u32 {
        let lock = Lock::on(&database, "telemetry");
        let published = load.grant(100);
        load.wait_accepted(published);
        wait_for_session(&database, LOCKED_OUT);
        let void = daemon.metric("sluice_void_acks_total");
        proxy.cut();
        daemon.wait_metric("sluice_mqtt_reconnects_total", f64::from(round));
        drop(lock);
        daemon.wait_metric("sluice_void_acks_total", void + 1.0);
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn a_connection_cut_after_any_number_of_bytes_loses_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let proxy = Proxy::to(broker.port());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).set("MQTT_PORT", &proxy.port().to_string()).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &DEVICES);
    let ways = [Direction::ToServer, Direction::ToClient];
    for (round, way) in (1..=5_u32).zip(ways.into_iter().cycle()) {
        // Of 240 messages about 35 KB come, and about 1 KB of acknowledgements goes back.
        let bytes = u64::from(round) * if way == Direction::ToServer { 97 } else { 3_331 };
        proxy.cut_after(way, bytes);
        load.grant(80);
        daemon.wait_metric("sluice_mqtt_reconnects_total", f64::from(round));
    }
    wait::until("it is connected", || daemon.metric("sluice_mqtt_connected") > 0.0);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once_but_plain(&database, &accepted);
}
