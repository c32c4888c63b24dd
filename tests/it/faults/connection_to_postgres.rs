//! The connection between the daemon and Postgres, cut and held up in the middle of a transaction.

use super::load::{Load, assert_each_once, settings, settle, wait_rows};
use super::lock::{LOCKED_OUT, Lock, wait_for_session};
use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};

const DEVICES: [&str; 3] = ["timed-1", "plain-1", "stranger-1"];

/// Whose messages are all refused: a batch of nothing else is written between BEGIN and COMMIT.
const REFUSED: [&str; 1] = ["stranger-1"];

/// How many refused messages are counted.
const COUNTED: &str = "SELECT sum(cnt) FROM quarantine_counters_minute";

/// The state of a session whose transaction has done everything but the COMMIT.
const BEFORE_COMMIT: &str = "state = 'idle in transaction' AND query LIKE '%counted%'";

fn daemon_behind(proxy: &Proxy, broker: &Mosquitto, database: &Database<'_>) -> Daemon {
    let daemon = settings(broker, database).set("DATABASE_URL", &database.url_through(proxy.port())).start();
    daemon.wait_ready();
    daemon
}

/// Brings the daemon to where it has sent a COMMIT that does not arrive; returns the number of the transaction.
fn hold_the_commit(proxy: &Proxy, database: &Database<'_>, load: &Load) -> u64 {
    // The first time, statements are prepared; then each is one question and one answer.
    database.wait_until(COUNTED, &load.grant(20).to_string());
    let lock = Lock::on(database, "quarantine_counters_minute");
    load.grant(80);
    wait_for_session(database, LOCKED_OUT);
    proxy.hold(Direction::ToServer);
    drop(lock);
    wait_for_session(database, BEFORE_COMMIT)
}

#[test]
fn a_connection_cut_after_any_number_of_bytes_loses_nothing_and_doubles_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &DEVICES);
    let ways = [Direction::ToServer, Direction::ToClient];
    for (round, way) in (1..=10).zip(ways.into_iter().cycle()) {
        // Of 180 messages go about 40 KB, and a few hundred bytes of answers come back for each batch.
        let bytes = round * if way == Direction::ToServer { 1_709 } else { 29 };
        proxy.cut_after(way, bytes);
        let published = load.grant(60);
        wait_rows(&database, 2 * published);
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    let retries = daemon.metric("sluice_db_retries_total");
    println!("{retries} retries");
    assert!(retries >= 3.0, "{retries}");
}

#[test]
fn a_commit_that_never_arrived_is_done_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &REFUSED);
    hold_the_commit(&proxy, &database, &load);
    proxy.cut();
    proxy.release(Direction::ToServer);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert_eq!(database.value(COUNTED), "100");
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_done_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &REFUSED);
    let transaction = hold_the_commit(&proxy, &database, &load);
    proxy.hold(Direction::ToClient);
    proxy.release(Direction::ToServer);
    database.wait_until(&format!("SELECT pg_xact_status('{transaction}'::xid8)"), "committed");
    proxy.cut();
    proxy.release(Direction::ToClient);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert_eq!(database.value(COUNTED), "100");
}

#[test]
fn a_transaction_number_that_a_crash_gave_away_again_is_not_taken_for_the_lost_one() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    // What is not committed is not written to disk either, so the crash forgets that the number was used.
    let postgres = Postgres::private_with(&[("wal_writer_delay", "10s"), ("autovacuum", "off")]);
    let database = postgres.database();
    let proxy = Proxy::to(postgres.port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &REFUSED);
    let transaction = hold_the_commit(&proxy, &database, &load);
    postgres.kill9();
    proxy.refuse();
    proxy.release(Direction::ToServer);
    postgres.start();
    let next = || database.value("SELECT pg_current_xact_id()").parse::<u64>().unwrap();
    let first = next();
    println!("transaction {transaction} was lost, the first one after the crash is {first}");
    while next() <= transaction {}
    database.wait_until(
        &format!("SELECT pg_xact_status('{transaction}'::xid8)"),
        if first <= transaction { "committed" } else { "aborted" },
    );
    proxy.allow();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}
