//! The daemon is away, hangs, sends garbage; the options are wrong. The broker lives, and nothing opens.

use std::time::{Duration, Instant};

use sluice_shared::frames::from_daemon::FromDaemon;
use sluice_shared::frames::from_plugin::FromPlugin;

use crate::client::{Client, Connect};
use crate::daemon::Daemon;
use crate::mosquitto::{Config, Mosquitto, version};
use crate::wait;

const DEVICE: &str = "acme/device/pump-1";
const OWN_TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

fn login(client_id: &str) -> Connect<'_> {
    Connect { client_id, username: Some("alice"), password: Some("good"), ..Connect::default() }
}

fn device() -> Connect<'static> {
    Connect { client_id: DEVICE, ..Connect::default() }
}

#[test]
fn before_the_first_snapshot_nobody_gets_in() {
    let daemon = Daemon::prepared();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    assert_eq!(Client::connect(&broker, &login("c")).err(), Some(None), "closed: try again");
    daemon.listen();
    wait::until("the daemon is there", || Client::connect(&broker, &login("c")).is_ok());
}

#[test]
fn a_daemon_in_another_container_is_recognized_by_its_user() {
    let daemon = Daemon::start();
    let config = Config { is_contained: true, ..Config::default() };
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    wait::until("a client gets in", || Client::connect(&broker, &login("c")).is_ok());
    assert!(!broker.log().contains("connecting to the daemon failed"), "{}", broker.log());
}

#[test]
fn a_broker_can_insist_on_the_daemon() {
    let daemon = Daemon::prepared();
    let config = Config::default().option("start fail").option("wait_ms 300");
    let log = Mosquitto::fails_to_start(&daemon.socket(), &config);
    assert!(log.contains("no snapshot of the registry arrived"), "{log}");
}

#[test]
fn a_misspelled_option_stops_the_broker() {
    let daemon = Daemon::start();
    for option in ["stmap off", "stamp maybe", "socket relative/path"] {
        let log = Mosquitto::fails_to_start(&daemon.socket(), &Config::default().option(option));
        assert!(log.contains("plugin_opt_"), "{option}: {log}");
    }
}

#[test]
fn without_the_daemon_certificates_go_on_and_tokens_must_try_again() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let identity = broker.authority().issue(DEVICE);
    daemon.certify(DEVICE, &[&identity]);
    let mut open = Client::connect(&broker, &login("c1")).unwrap();
    daemon.vanish();
    wait::until("the plugin notices", || {
        broker.log().contains("the connection to the daemon ended")
    });
    assert_eq!(Client::connect(&broker, &login("c2")).err(), Some(None));
    let mut pump = Client::connect_tls(&broker, &identity, &device()).unwrap();
    assert_eq!(pump.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    assert_eq!(open.publish("a/b", "x", &[]), Some(0x10), "open sessions go on");
    daemon.forget();
    daemon.listen();
    daemon.wait_connected();
    assert!(Client::connect(&broker, &login("c2")).is_ok());
    let reported = daemon.received().into_iter().filter(|it| matches!(it, FromPlugin::Opened(_)));
    assert!(reported.count() >= 2, "the open sessions are reported to the new daemon");
}

#[test]
fn a_registry_that_is_too_old_refuses_new_sessions() {
    let daemon = Daemon::start();
    let config = Config::default().option("stale_s 5");
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    let identity = broker.authority().issue(DEVICE);
    daemon.certify(DEVICE, &[&identity]);
    let mut open = Client::connect_tls(&broker, &identity, &device()).unwrap();
    daemon.vanish();
    let other = Connect { client_id: "other", ..Connect::default() };
    wait::until("the registry is too old", || {
        Client::connect_tls(&broker, &identity, &other).err() == Some(None)
    });
    assert_eq!(open.publish(OWN_TOPIC, "{}", &[]), Some(0x10), "open sessions go on");
}

#[test]
fn a_hung_daemon_stalls_the_broker_only_until_the_breaker_opens() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let mut open = Client::connect(&broker, &login("open")).unwrap();
    daemon.answer(|_| None);
    let started_at = Instant::now();
    if version() >= (2, 1, 0) {
        // The broker does not wait: it serves the open session meanwhile.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Client::connect(&broker, &login("c")).err());
            while !waiting.is_finished() {
                let answered = open.ping().expect("the broker answers");
                assert!(answered < Duration::from_secs(2), "{answered:?}");
            }
            assert_eq!(waiting.join().unwrap(), Some(Some(0x87)));
        });
        return;
    }
    for number in 0..20 {
        let client_id = format!("c{number}");
        assert_eq!(Client::connect(&broker, &login(&client_id)).err(), Some(None));
    }
    let stats = daemon.stats();
    assert!(open.ping().is_some());
    // Two questions open the breaker, which closes after a second.
    let most = 2 + 2 * (started_at.elapsed().as_secs() + 1);
    assert!((2..=most).contains(&stats.ask_timeouts), "{stats:?}");
    daemon.answer(|question| Some(crate::daemon::user(question.username.as_deref()?)));
    wait::until("questions are asked again", || Client::connect(&broker, &login("again")).is_ok());
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let identity = broker.authority().issue(DEVICE);
    daemon.certify(DEVICE, &[&identity]);
    let mut pump = Client::connect_tls(&broker, &identity, &device()).unwrap();
    let valid = 3_u32.to_be_bytes();
    for garbage in [
        &b"\xff\xff\xff\xffgarbage"[..],
        &[&valid[..], b"{}}"].concat(),
        &[&20_u32.to_be_bytes()[..], b"{\"type\":\"the-future\"}"].concat(),
        &[&4_u32.to_be_bytes()[..], b"\x00\xff\xfe\xfd"].concat(),
    ] {
        daemon.forget();
        daemon.send_bytes(garbage);
        daemon.wait_connected();
        assert!(broker.is_running());
        assert_eq!(pump.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    }
}

#[test]
fn a_half_snapshot_or_a_gap_changes_nothing() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let identity = broker.authority().issue(DEVICE);
    daemon.certify(DEVICE, &[&identity]);
    // A snapshot without its parts would end every session.
    daemon.send(&FromDaemon::SnapshotBegin { version: 50 });
    daemon.send(&FromDaemon::Ping);
    let mut pump = Client::connect_tls(&broker, &identity, &device()).unwrap();
    assert_eq!(pump.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    daemon.forget();
    daemon.send(&FromDaemon::Delta { version: 99, devices: Vec::new() });
    wait::until("a snapshot is asked for", || {
        daemon.received().iter().any(|frame| matches!(frame, FromPlugin::Resync { .. }))
    });
    assert!(pump.ping().is_some());
    daemon.forget();
    daemon.send(&FromDaemon::SnapshotBegin { version: 60 });
    daemon.send(&FromDaemon::SnapshotEnd { version: 60, devices: 1 });
    daemon.wait_connected();
    assert!(pump.ping().is_some(), "an incomplete snapshot is not applied");
}

#[test]
fn a_storm_of_logins_is_decided_and_the_broker_keeps_its_memory() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let round = |round: usize| {
        for number in 0..1_000 {
            let client_id = format!("c{round}-{number}");
            let mut connect = login(&client_id);
            let is_good = number % 2 == 0;
            connect.password = Some(if is_good { "good" } else { "bad" });
            // On a busy machine an answer can be late; the client then tries again.
            wait::until("the login is decided", || match Client::connect(&broker, &connect) {
                Ok(_) => {
                    assert!(is_good, "a wrong password is never accepted");
                    true
                }
                Err(code) => code.is_some() && !is_good,
            });
        }
        broker.resident_kib()
    };
    let before = round(0);
    let after = (1..4).map(round).last().unwrap();
    assert!(after < before + 8 * 1_024, "{before} KiB, then {after} KiB");
    assert_eq!(daemon.stats().panics, 0);
}
