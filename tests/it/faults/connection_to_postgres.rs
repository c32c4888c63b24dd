//! The connection between the daemon and Postgres, cut and held up in the middle of a transaction.

use std::thread;

use super::load::{Load, assert_each_once, counted, settings, settle, wait_rows};
use super::lock::{LOCKED_OUT, LOCKED_OUT_SESSIONS, Lock, wait_for_session};
use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

const DEVICES: [&str; 3] = ["timed-1", "plain-1", "stranger-1"];

/// Whose messages are all refused: a batch of nothing else is written between BEGIN and COMMIT.
const REFUSED: [&str; 1] = ["stranger-1"];

/// How many refused messages are counted.
const COUNTED: &str = "SELECT sum(cnt) FROM quarantine_counters_minute";

/// The state of a session whose transaction has done everything but the COMMIT.
const BEFORE_COMMIT: &str = "state = 'idle in transaction' AND query LIKE '%counted%'";

/// The session in which readings, events and counts stand before a lock as one statement; empty
/// when there is none.
const ONE_STATEMENT_WAITS: &str = "SELECT coalesce(min(pid)::text, '') FROM pg_stat_activity WHERE datname = current_database() \
    AND query LIKE 'WITH refused%' AND wait_event_type = 'Lock'";

/// Whether a second lock is asked for, behind the first.
const WAITING_FOR_A_LOCK: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND query LIKE '%LOCK TABLE%'";

/// How many messages the daemon has taken.
const RECEIVED: &str = "sluice_messages_received_total";

fn daemon_behind(proxy: &Proxy, broker: &Mosquitto, database: &Database<'_>) -> Daemon {
    let daemon =
        settings(broker, database).set("DATABASE_URL", &database.url_through(proxy.port())).start();
    daemon.wait_ready();
    daemon
}

/// Brings the daemon to where it has sent a COMMIT that does not arrive; returns the number of the
/// transaction.
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
fn a_connection_cut_after_any_number_of_bytes_loses_and_doubles_nothing() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &DEVICES);
    let ways = [Direction::ToServer, Direction::ToClient];
    for (round, way) in (1..=10).zip(ways.into_iter().cycle()) {
        // Of 180 messages go about 40 KB, and a few hundred bytes of answers come back for each
        // batch.
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

/// Has the daemon gather some messages of each kind while the first few stand before a lock, and
/// stop before a second lock with those that it gathered.
fn gather_before_a_lock<'a>(daemon: &Daemon, database: &'a Database<'a>, load: &Load) -> Lock {
    let lock = || Lock::on(database, "quarantine_counters_minute");
    let received =
        |of_each| wait::until("they are received", || counted(daemon, RECEIVED) >= 3 * of_each);
    let first = lock();
    received(load.grant(1));
    database.wait_until(LOCKED_OUT_SESSIONS, "1");
    thread::scope(|scope| {
        let second = scope.spawn(lock);
        database.wait_until(WAITING_FOR_A_LOCK, "1");
        received(load.grant(15));
        drop(first);
        let second = second.join().unwrap();
        database.wait_until(LOCKED_OUT_SESSIONS, "1");
        second
    })
}

#[test]
fn one_statement_whose_answer_was_lost_is_not_done_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let daemon = daemon_behind(&proxy, &broker, &database);
    let load = Load::start(&broker, &database, &DEVICES);
    // Now and then a batch holds what one statement does not take. The first time it is prepared,
    // by its own queries.
    let mut prepared_in = String::new();
    let lock = loop {
        let lock = gather_before_a_lock(&daemon, &database, &load);
        let session = database.value(ONE_STATEMENT_WAITS);
        if !session.is_empty() && session == prepared_in {
            break lock;
        }
        if !session.is_empty() {
            prepared_in = session;
        }
        drop(lock);
        database.wait_until(COUNTED, &load.grant(0).to_string());
    };
    proxy.hold(Direction::ToClient);
    drop(lock);
    let published = load.grant(0).to_string();
    database.wait_until(COUNTED, &published);
    proxy.cut();
    proxy.release(Direction::ToClient);
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
    assert_eq!(database.value(COUNTED), published);
}

#[test]
fn a_transaction_id_reused_after_a_crash_is_not_mistaken_for_the_lost_one() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    // What is not committed is not written to disk either, so the crash forgets that the number was
    // used.
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
