//! Postgres killed, stopped and frozen.

use std::time::{Duration, Instant};

use super::load::{Load, assert_each_once, rows, settings, settle, wait_rows};
use crate::support::daemon::Daemon;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

/// How long Postgres stays away.
const AWAY: Duration = Duration::from_secs(10);

/// The daemon's memory while Postgres is away: its budget for messages in flight is 64 MiB, and this is below it.
const MEMORY_KIB: u64 = 120 * 1024;

#[test]
fn a_postgres_killed_or_stopped_while_messages_flow_loses_nothing_and_gets_nothing_twice() {
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
fn a_postgres_stopped_for_ten_seconds_turns_readiness_red_and_then_green_and_nothing_is_lost() {
    outage(Postgres::stop, Postgres::start);
}

#[test]
fn a_postgres_frozen_for_ten_seconds_turns_readiness_red_and_then_green_and_nothing_is_lost() {
    outage(Postgres::pause, Postgres::resume);
}

/// Postgres goes away under load and comes back.
fn outage(leave: impl Fn(&Postgres), come_back: impl Fn(&Postgres)) {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    assert!(is_up(&daemon));
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
        left.elapsed() > AWAY
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

fn is_up(daemon: &Daemon) -> bool {
    daemon.metric("sluice_db_up") > 0.0
}
