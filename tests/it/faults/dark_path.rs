//! The path between the daemon and Postgres goes dark: nothing passes, and neither end is notified.
//! And a path that breaks again and again costs few lines of log.

use super::load::{Load, assert_each_once, settings, settle, wait_rows};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::wait;

const DEVICES: [&str; 2] = ["timed-1", "plain-1"];

#[test]
fn when_every_connection_goes_dark_new_ones_store_the_messages() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = settings(&broker, &database)
        .set("DATABASE_URL", &database.url_through(proxy.port()))
        .start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &DEVICES);
    wait_rows(&database, 2 * load.grant(20));
    proxy.darken();
    load.grant(20);
    let why = daemon.wait_unready_for("writer");
    println!("{why}");
    wait_rows(&database, 80);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    daemon.wait_ready();
    assert_each_once(&database, &accepted);
}

#[test]
fn a_connection_that_breaks_again_and_again_costs_few_lines_of_log() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = settings(&broker, &database)
        .set("DATABASE_URL", &database.url_through(proxy.port()))
        .start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &DEVICES);
    wait_rows(&database, 2 * load.grant(10));
    let before = daemon.log().lines().count();
    for _ in 0..40 {
        let published = load.grant(2);
        proxy.cut();
        wait_rows(&database, 2 * published);
    }
    daemon.wait_metric("sluice_db_retries_total", 20.0);
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().skip(before).collect();
    println!("{} lines", lines.len());
    // Less than one for each cut. On a busy machine the cuts take longer, and more lines are due.
    assert!(lines.len() <= 36, "{}", lines.join("\n"));
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    daemon.wait_ready();
    wait::until("its end is logged", || daemon.log().contains("again"));
    assert_each_once(&database, &accepted);
}
