//! Mosquitto stopped and killed.

use super::load::{Load, assert_each_once, counted, found, rows, settings, settle, wait_rows};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::wait;

#[test]
fn a_broker_restarted_under_load_loses_and_doubles_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "timed-2"]);
    for round in 1..=4 {
        load.grant(250);
        wait_rows(&database, rows(&database).unwrap() + 47 * round);
        broker.stop();
        broker.start_again();
    }
    let accepted = load.finish();
    daemon.wait_ready();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert!(counted(&daemon, "sluice_mqtt_reconnects_total") >= 4);
    assert_eq!(counted(&daemon, "sluice_mqtt_session_lost_total"), 0);
}

#[test]
fn after_a_broker_crash_all_that_was_committed_or_saved_is_stored() {
    let broker = Mosquitto::start(MosquittoOptions::default().line("autosave_interval 1"));
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "timed-2"]);
    let committed = load.grant(300);
    wait_rows(&database, 2 * committed);
    daemon.kill9();
    let saved = load.grant(300);
    load.wait_accepted(saved);
    wait_for_save(&broker);
    // Of these it may forget some, also ones it took over.
    load.grant(300);
    wait::until("it took over some more", || load.accepted() > 2 * saved);
    broker.kill9();
    broker.start_again();
    daemon.start_again();
    daemon.wait_ready();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    let found = found(&database);
    let sure: Vec<_> = accepted.iter().filter(|(_, number)| *number < saved).collect();
    let lost = sure.iter().filter(|key| !found.contains_key(**key)).count();
    assert_eq!(lost, 0, "of {} that were committed or saved{}", sure.len(), wait::log_tails());
    assert_eq!(found.values().filter(|count| **count > 1).count(), 0, "there twice");
    println!(
        "{} of {} accepted messages are stored after kill -9 of the broker",
        found.len(),
        accepted.len()
    );
}

/// Waits until the broker has saved everything it holds now.
fn wait_for_save(broker: &Mosquitto) {
    let saves = || broker.log().matches("Saving in-memory database").count();
    // One may be under way: the one after it has everything.
    let enough = saves() + 2;
    wait::until("the broker has saved its messages", || saves() >= enough);
}
