//! When a session ends: at a revocation, at the end of its certificate or token, by command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sluice_shared::frames::from_daemon::RevokeTarget;
use sluice_shared::frames::from_plugin::{ClosedWhy, FromPlugin};

use crate::client::{Client, Connect};
use crate::daemon::{Daemon, subject, verify};
use crate::mosquitto::{Config, Mosquitto, version};
use crate::wait;

const ADMINISTRATIVE: Option<u8> = Some(0x98);
const DEVICE: &str = "acme/device/pump-1";
const OWN_TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

fn micros_from_now(seconds: f64) -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a certificate of the test needs a real end")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from((now + Duration::from_secs_f64(seconds)).as_micros()).unwrap()
}

fn start(config: &Config) -> (Daemon, Mosquitto) {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), config);
    daemon.wait_connected();
    (daemon, broker)
}

#[test]
fn revoking_one_of_two_certificates_ends_only_its_session() {
    let (daemon, broker) = start(&Config::default());
    let [first, second] = [(); 2].map(|()| broker.authority().issue(DEVICE));
    daemon.certify(DEVICE, &[&first, &second]);
    let connect = |client_id| Connect { client_id, ..Connect::default() };
    let mut one = Client::connect_tls(&broker, &first, &connect("one")).unwrap();
    let mut two = Client::connect_tls(&broker, &second, &connect("two")).unwrap();
    daemon.certify(DEVICE, &[&second]);
    assert_eq!(one.ended(), ADMINISTRATIVE);
    let refused = Client::connect_tls(&broker, &first, &connect("one")).err();
    assert_eq!(refused, Some(Some(0x87)));
    assert_eq!(two.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    let closed =
        |frame: &FromPlugin| matches!(frame, FromPlugin::Closed { why: ClosedWhy::Revoked, .. });
    wait::until("the end is reported", || daemon.received().iter().any(closed));
    assert_eq!(daemon.stats().kicked_revoked, 1);
}

#[test]
fn a_session_ends_within_50_ms_of_the_revocation() {
    let (daemon, broker) = start(&Config::default());
    let mut times = Vec::new();
    for round in 0..9 {
        let identity = broker.authority().issue(DEVICE);
        daemon.certify(DEVICE, &[&identity]);
        let client_id = format!("client-{round}");
        let connect = Connect { client_id: &client_id, ..Connect::default() };
        let mut device = Client::connect_tls(&broker, &identity, &connect).unwrap();
        let started_at = Instant::now();
        daemon.certify(DEVICE, &[]);
        assert_eq!(device.ended(), ADMINISTRATIVE);
        times.push(started_at.elapsed());
    }
    times.sort();
    // The least of nine: what the plugin costs, not what the machine did meanwhile.
    assert!(times[0] < Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_command_ends_the_sessions_it_names_and_is_answered() {
    let (daemon, broker) = start(&Config::default());
    let connect = |client_id, username| Connect {
        client_id,
        username: Some(username),
        password: Some("good"),
        ..Connect::default()
    };
    let mut alice = [connect("a1", "alice"), connect("a2", "alice")]
        .map(|connect| Client::connect(&broker, &connect).unwrap());
    let mut bob = Client::connect(&broker, &connect("b1", "bob")).unwrap();
    daemon.revoke(7, RevokeTarget::Identity("alice".into()));
    for session in &mut alice {
        assert_eq!(session.ended(), ADMINISTRATIVE);
    }
    let answer = |command| {
        wait::for_some("the command is answered", || {
            daemon.received().into_iter().find_map(|frame| match frame {
                FromPlugin::Revoked { command: answered, sessions } if answered == command => {
                    Some(sessions)
                }
                _ => None,
            })
        })
    };
    assert_eq!(answer(7), 2);
    assert!(bob.ping().is_some());
    daemon.revoke(8, RevokeTarget::Identity("nobody".into()));
    assert_eq!(answer(8), 0);
    daemon.revoke(9, RevokeTarget::ClientId("b1".into()));
    assert_eq!((bob.ended(), answer(9)), (ADMINISTRATIVE, 1));
}

#[test]
fn a_session_ends_with_its_token_and_its_will_is_published() {
    let (daemon, broker) = start(&Config::default());
    daemon.answer(|question| {
        let name = question.username.clone().unwrap();
        let ends = (name == "short").then(|| micros_from_now(1.5));
        Some(subject("user", &name, ends))
    });
    let connect = |client_id, username| Connect {
        client_id,
        username: Some(username),
        password: Some("x"),
        ..Connect::default()
    };
    let mut reader = Client::connect(&broker, &connect("r", "reader")).unwrap();
    reader.subscribe("last/#");
    let started_at = Instant::now();
    let short = Connect { will: Some(("last/words", "gone", &[])), ..connect("s", "short") };
    let mut session = Client::connect(&broker, &short).unwrap();
    assert_eq!(session.ended(), ADMINISTRATIVE);
    let lived = started_at.elapsed();
    assert!(lived >= Duration::from_secs(1), "not before the end: {lived:?}");
    let (identity, proof) = verify(&reader.message()).unwrap();
    assert_eq!((identity.as_str(), proof.is_will), ("short", true));
    assert_eq!(daemon.stats().kicked_expired, 1);
}

#[test]
fn a_new_token_in_time_keeps_the_session() {
    let (daemon, broker) = start(&Config::default());
    daemon.answer(|question| {
        let first = question.secret.as_ref().unwrap().expose() == "first";
        Some(subject("user", "alice", Some(micros_from_now(if first { 2.0 } else { 3600.0 }))))
    });
    let auth = Some(("CUSTOM-JWT", "first"));
    let connect = Connect { client_id: "a", auth, ..Connect::default() };
    let mut session = Client::connect(&broker, &connect).unwrap();
    let started_at = Instant::now();
    assert_eq!(session.authenticate_again("CUSTOM-JWT", "second").unwrap().head, 0xf0);
    wait::until("the first token has ended", || started_at.elapsed() > Duration::from_secs(3));
    assert!(session.ping().is_some());
    assert_eq!(session.publish("a/b", "x", &[]), Some(0x10));
}

#[test]
fn a_certificate_that_ends_ends_its_session() {
    let (daemon, broker) = start(&Config::default());
    let identity = broker.authority().issue(DEVICE);
    daemon.certify_within(DEVICE, &[&identity], (0, micros_from_now(1.5)));
    let connect = Connect { client_id: DEVICE, ..Connect::default() };
    let mut device = Client::connect_tls(&broker, &identity, &connect).unwrap();
    assert_eq!(device.ended(), ADMINISTRATIVE);
    assert!(Client::connect_tls(&broker, &identity, &connect).is_err());
}

#[test]
fn a_policy_holds_from_the_next_message_of_an_open_session() {
    let (daemon, broker) = start(&Config::default());
    let connect = Connect {
        client_id: "a",
        username: Some("alice"),
        password: Some("good"),
        ..Connect::default()
    };
    let mut alice = Client::connect(&broker, &connect).unwrap();
    assert_eq!(alice.publish("a/b", "x", &[]), Some(0x10));
    daemon.set_policy(r#"{"rules":[]}"#);
    wait::until("the new policy holds", || alice.publish("a/b", "x", &[]) == Some(0x87));
    assert!(alice.ping().is_some(), "and the session goes on");
}

#[test]
fn with_settings_per_listener_a_session_ends_at_the_latest_at_its_next_message() {
    let config = Config { is_per_listener: true, ..Config::default() };
    let (daemon, broker) = start(&config);
    let identity = broker.authority().issue(DEVICE);
    daemon.certify(DEVICE, &[&identity]);
    let connect = Connect { client_id: DEVICE, ..Connect::default() };
    let mut device = Client::connect_tls(&broker, &identity, &connect).unwrap();
    assert_eq!(device.publish(OWN_TOPIC, "{}", &[]), Some(0x10));
    daemon.certify(DEVICE, &[]);
    if version() >= (2, 0, 15) {
        assert_eq!(device.ended(), ADMINISTRATIVE);
        return;
    }
    // Mosquitto 2.0.11 calls no tick then, so nothing can close the session from outside.
    wait::until("the session ends at a message", || {
        let code = device.publish(OWN_TOPIC, "{}", &[]);
        assert_ne!(code, Some(0x10), "nothing is accepted");
        code.is_none()
    });
}
