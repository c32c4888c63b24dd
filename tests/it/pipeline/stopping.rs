//! SIGTERM: the daemon ends in time, loses nothing, and leaves nothing to be stored twice.

use std::process::Command;
use std::time::Instant;

use crate::certificates::ca_fixture::CaFixture;
use crate::faults::load::{Load, assert_each_once, rows, settings, settle, wait_rows};
use crate::support::daemon::{Daemon, Settings};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::port;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::time_bounds::{SHUTDOWN_TIMEOUT, STOP_SLACK};
use crate::support::wait;

fn with_timeout(settings: Settings) -> Settings {
    settings.set("SHUTDOWN_TIMEOUT_SECONDS", &SHUTDOWN_TIMEOUT.as_secs().to_string())
}

#[test]
fn under_load_it_ends_in_time_and_nothing_is_lost_or_stored_twice() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let daemon = settings(&broker, &database).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "plain-1", "stranger-1"]);
    for round in 1..=3 {
        load.grant(120);
        wait_rows(&database, rows(&database).unwrap() + 31 * round);
        let told = Instant::now();
        assert_eq!(daemon.terminate(), 0);
        println!("ended under load after {:?}", told.elapsed());
        assert!(told.elapsed() < SHUTDOWN_TIMEOUT + STOP_SLACK, "it took {:?}", told.elapsed());
        load.grant(30);
        daemon.start_again();
        daemon.wait_ready();
    }
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn while_postgres_is_down_it_ends_within_the_timeout_and_nothing_is_lost() {
    ends_without_postgres(Postgres::stop, Postgres::start);
}

#[test]
fn with_postgres_frozen_it_ends_within_the_timeout_and_loses_nothing() {
    ends_without_postgres(Postgres::pause, Postgres::resume);
}

fn ends_without_postgres(leave: impl Fn(&Postgres), come_back: impl Fn(&Postgres)) {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon = with_timeout(settings(&broker, &database)).start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1", "timed-2"]);
    load.grant(200);
    wait_rows(&database, 50);
    leave(&postgres);
    load.wait_accepted(load.grant(200));
    wait::until("messages wait for Postgres", || daemon.metric("sluice_inflight_unacked") > 0.0);
    let told = Instant::now();
    let code = daemon.terminate();
    println!("ended without Postgres after {:?} with exit code {code}", told.elapsed());
    assert!(told.elapsed() < SHUTDOWN_TIMEOUT + STOP_SLACK, "it took {:?}", told.elapsed());
    assert_eq!(code, 0, "{}", wait::log_tails());
    assert!(broker.log().contains("Received DISCONNECT from sluice"), "it said goodbye");
    come_back(&postgres);
    daemon.start_again();
    daemon.wait_ready();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn before_it_has_ever_reached_postgres_it_ends_at_once() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    postgres.stop();
    let daemon = settings(&broker, &database).start();
    daemon.wait_unready();
    wait::until("it retries", || daemon.log().contains("retrying"));
    let told = Instant::now();
    assert_eq!(daemon.terminate(), 0);
    assert!(told.elapsed() < STOP_SLACK, "it took {:?}", told.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let postgres = Postgres::private();
    let database = postgres.database();
    let daemon: Daemon =
        settings(&broker, &database).set("SHUTDOWN_TIMEOUT_SECONDS", "300").start();
    daemon.wait_ready();
    let load = Load::start(&broker, &database, &["timed-1"]);
    postgres.pause();
    load.grant(100);
    wait::until("messages wait for Postgres", || daemon.metric("sluice_inflight_unacked") > 0.0);
    daemon.signal("TERM");
    wait::until("it is stopping", || {
        daemon.log().contains("stopping: Sluice receives no further messages")
    });
    let told = Instant::now();
    let code = daemon.terminate();
    assert!(told.elapsed() < STOP_SLACK, "it took {:?}", told.elapsed());
    assert_eq!(code, 70);
    postgres.resume();
    daemon.start_again();
    daemon.wait_ready();
    let accepted = load.finish();
    settle(&broker, &database, &[&daemon]);
    assert_each_once(&database, &accepted);
}

#[test]
fn with_queries_on_a_dark_path_to_postgres_it_ends_within_the_timeout() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let database = Postgres::shared().database();
    let proxy = Proxy::to(Postgres::shared().port());
    let settings = with_timeout(settings(&broker, &database))
        .set("DATABASE_URL", &database.url_through(proxy.port()));
    let daemon = settings.start();
    daemon.wait_ready();
    for way in [Direction::ToServer, Direction::ToClient] {
        proxy.hold(way);
    }
    // The probe queries by the pool, and gets no answer.
    daemon.wait_unready();
    let told = Instant::now();
    let code = daemon.terminate();
    println!("ended in the dark after {:?} with exit code {code}", told.elapsed());
    assert!(told.elapsed() < SHUTDOWN_TIMEOUT + STOP_SLACK, "it took {:?}", told.elapsed());
    assert!([0, 69].contains(&code), "{code}");
}

#[test]
fn a_pipe_where_the_crl_belongs_holds_no_thread_and_no_stop_up() {
    let ca = CaFixture::new();
    let crl = ca.path("crl.pem");
    let made =
        Command::new("/bin/sh").args(["-c", r#"rm -f "$0"; mkfifo "$0""#, &crl]).status().unwrap();
    assert!(made.success());
    let start = with_timeout(Settings::empty()).set("DATABASE_URL", &ca.database.url());
    let start = start.set("MQTT_HOST", "127.0.0.1").set("MQTT_PORT", &port::free().to_string());
    let daemon = ca.files().iter().fold(start, |all, (name, value)| all.set(name, value)).start();
    // What is no file is replaced by one.
    wait::until("there is a CRL", || std::fs::metadata(&crl).is_ok_and(|found| found.is_file()));
    let told = Instant::now();
    assert_eq!(daemon.terminate(), 0, "{}", wait::log_tails());
    assert!(told.elapsed() < SHUTDOWN_TIMEOUT + STOP_SLACK, "it took {:?}", told.elapsed());
}
