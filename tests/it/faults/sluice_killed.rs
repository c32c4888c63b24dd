//! kill -9 of the daemon.

use super::load::{Load, assert_each_once, rows, settings, settle, wait_rows};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;

#[test]
fn a_daemon_killed_again_and_again_loses_nothing_and_stores_nothing_twice() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "timed-2"]);
    for round in 1..=6 {
        load.grant(250);
        // Each time at another point of the pipeline.
        let reached = rows(&database).unwrap();
        wait_rows(&database, reached + 61 * round);
        daemon.kill9();
        // Messages that arrive while the daemon is away.
        load.grant(50);
        daemon.start_again();
    }
    daemon.wait_ready();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}
