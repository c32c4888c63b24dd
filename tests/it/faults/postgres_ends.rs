//! Postgres killed, stopped and frozen.

use std::time::Instant;

use super::load::{
    Load, assert_each_once, found, message, register, rows, settings, settle, wait_rows,
};
use crate::support::daemon::Daemon;
use crate::support::device::{Device, Fate, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::time_bounds::OUTAGE;
use crate::support::wait;

/// The most memory the daemon may hold: 64 MiB of messages in flight, twice that for what they
/// become on their way.
const MEMORY_KIB: u64 = 192 * 1024;

/// Messages that are more than it may hold, with the bytes of each.
const HEAVY: (u64, usize) = (8_000, 15_000);

#[test]
fn a_postgres_killed_or_stopped_under_load_loses_and_doubles_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "plain-1", "stranger-1"]);
    for round in 1..=4 {
        load.grant(80);
        wait_rows(&database, rows(&database).unwrap() + 17 * round);
        if round == 3 {
            postgres.stop();
        } else {
            postgres.kill9();
        }
        load.grant(20);
        postgres.start();
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn a_postgres_stopped_for_ten_seconds_loses_nothing_and_readiness_recovers() {
    outage(Postgres::stop, Postgres::start);
}

#[test]
fn a_postgres_frozen_for_ten_seconds_loses_nothing_and_readiness_recovers() {
    outage(Postgres::pause, Postgres::resume);
}

/// Postgres goes away under load and comes back.
fn outage(leave: impl Fn(&Postgres), come_back: impl Fn(&Postgres)) {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    wait::until("sluice_db_up is 1", || is_up(&daemon));
    let load = Load::start(&broker, &database, &["timed-1", "timed-2", "plain-1"]);
    load.grant(500);
    wait_rows(&database, 300);
    leave(&postgres);
    let left = Instant::now();
    let mut memory = 0;
    wait::until("Postgres was away for long enough", || {
        if load.accepted() < 9_000 {
            load.wait_accepted(load.grant(100));
        }
        memory = memory.max(daemon.rss_kib());
        left.elapsed() > OUTAGE
    });
    let said = daemon.wait_unready();
    assert!(said.contains("database"), "{said}");
    wait::until("sluice_db_up is 0", || !is_up(&daemon));
    come_back(&postgres);
    daemon.wait_ready();
    wait::until("sluice_db_up is 1", || is_up(&daemon));
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    println!("{} messages, at most {memory} KiB while Postgres was away", accepted.len());
    assert!(memory < MEMORY_KIB, "it held {memory} KiB");
}

#[test]
fn memory_is_bounded_when_heavy_messages_pile_up_behind_a_frozen_postgres() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    register(&database, &["timed-1"]);
    let mut device = Device::connect(broker.port(), "timed-1");
    postgres.pause();
    let (count, bytes) = HEAVY;
    for start in (0..count).step_by(500) {
        let messages: Vec<Message> =
            (start..start + 500).map(|number| heavy(number, bytes)).collect();
        assert!(device.publish_all(&messages).iter().all(|fate| *fate == Fate::Accepted));
    }
    // What is on its way is all it takes: the queue's 64 lots, each of one message at least; the
    // broker keeps the rest.
    daemon.wait_metric("sluice_inflight_unacked", 64.0);
    let mut memory = daemon.rss_kib();
    postgres.resume();
    wait::until("everything is stored", || {
        memory = memory.max(daemon.rss_kib());
        rows(&database) >= Some(count)
    });
    settle(&broker, &database, &[&daemon]);
    assert_eq!(found(&database).values().filter(|times| **times == 1).count() as u64, count);
    println!(
        "at most {memory} KiB with {count} messages of {bytes} bytes behind a frozen Postgres"
    );
    assert!(memory < MEMORY_KIB, "it held {memory} KiB");
}

/// A message of this many bytes.
fn heavy(number: u64, bytes: usize) -> Message {
    let plain = message("timed-1", number);
    let text = String::from_utf8(plain.payload.to_vec()).unwrap();
    Message::new(plain.topic, text.replace("boiler", &"b".repeat(bytes)))
}

fn is_up(daemon: &Daemon) -> bool {
    daemon.metric("sluice_db_up") > 0.0
}
