//! The proof that each message carries, and what a client can do about it: nothing.

use std::time::Duration;

use sluice_shared::proof::ShortFingerprint;

use crate::client::{Client, Connect, Received};
use crate::daemon::{Daemon, verify};
use crate::mosquitto::{Config, Mosquitto};
use crate::wait;

/// A broker with a subscriber of every topic.
struct Scene {
    daemon: Daemon,
    broker: Mosquitto,
    subscriber: Client,
}

fn login<'a>(client_id: &'a str, username: &'a str) -> Connect<'a> {
    Connect { client_id, username: Some(username), password: Some("good"), ..Connect::default() }
}

impl Scene {
    fn new(config: &Config) -> Self {
        let daemon = Daemon::start();
        let broker = Mosquitto::start(&daemon.socket(), config);
        daemon.wait_connected();
        let mut subscriber = Client::connect(&broker, &login("subscriber", "reader")).unwrap();
        assert_eq!(subscriber.subscribe("#"), 1);
        Self { daemon, broker, subscriber }
    }

    /// Publishes as `alice`, and returns the message and who the proof says published it.
    fn publish(&mut self, pairs: &[(&str, &str)]) -> (Received, String) {
        let mut alice = Client::connect(&self.broker, &login("alice-1", "alice")).unwrap();
        assert_eq!(alice.publish("a/b", "payload", pairs), Some(0));
        let message = self.subscriber.message();
        let (identity, _) = verify(&message).unwrap();
        (message, identity)
    }
}

#[test]
fn a_message_carries_the_proof_of_its_publisher() {
    let mut scene = Scene::new(&Config::default());
    let (message, identity) = scene.publish(&[]);
    assert_eq!((identity.as_str(), message.properties.len()), ("alice", 1));
    let v3 = Connect { version: 4, ..login("old", "bob") };
    let mut old = Client::connect(&scene.broker, &v3).unwrap();
    assert_eq!(old.publish("a/b", "from 3.1.1", &[]), Some(0));
    let (identity, proof) = verify(&scene.subscriber.message()).unwrap();
    assert_eq!((identity.as_str(), proof.fingerprint, proof.is_will), ("bob", None, false));
}

#[test]
fn the_proof_of_a_device_names_its_certificate() {
    let mut scene = Scene::new(&Config::default());
    let certificate = scene.broker.authority().issue("acme/device/pump-1");
    scene.daemon.certify("acme/device/pump-1", &[&certificate]);
    let connect = Connect { client_id: "acme/device/pump-1", ..Connect::default() };
    let mut device = Client::connect_tls(&scene.broker, &certificate, &connect).unwrap();
    assert_eq!(device.publish("tenant/acme/device/pump-1/telemetry", "{}", &[]), Some(0));
    let (identity, proof) = verify(&scene.subscriber.message()).unwrap();
    assert_eq!(identity, "acme/device/pump-1");
    assert_eq!(proof.fingerprint, Some(ShortFingerprint::of(&certificate.fingerprint_bytes())));
}

#[test]
fn no_forged_property_gets_through() {
    let mut scene = Scene::new(&Config::default());
    for pairs in [
        &[("sluice-publisher", "root")][..],
        &[("own", "1"), ("sluice-publisher", "root"), ("own", "2")],
        &[("Sluice-Identity", "root"), ("SLUICE-PROOF", "x"), ("sluice-other", "x")],
        &[("own", "1"), ("sluice-publisher", "root AQ"), ("sluice-publisher", "root AQ")],
        &[("sluice-publisher", "root"), ("own", "1")],
    ] {
        let (message, identity) = scene.publish(pairs);
        assert_eq!(identity, "alice");
        let reserved = message
            .properties
            .iter()
            .filter(|(name, _)| name.to_lowercase().starts_with("sluice-"));
        assert_eq!(reserved.count(), 1, "{message:?}");
        let own = |(name, _): &&(&str, &str)| *name == "own";
        let sent: Vec<_> = pairs.iter().filter(own).map(|(_, value)| *value).collect();
        let kept = message.properties.iter().filter(|(name, _)| name == "own");
        assert_eq!(kept.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), sent);
    }
    assert_eq!(scene.daemon.stats().stripped, 8);
}

#[test]
fn a_proof_belongs_to_one_message() {
    let mut scene = Scene::new(&Config::default());
    let (message, _) = scene.publish(&[]);
    for changed in [
        Received { topic: "a/c".into(), ..message.clone() },
        Received { payload: b"other".to_vec(), ..message.clone() },
        Received {
            properties: message
                .properties
                .iter()
                .map(|(name, value)| (name.clone(), value.replace("alice", "root")))
                .collect(),
            ..message.clone()
        },
    ] {
        assert!(verify(&changed).is_err(), "{changed:?}");
    }
    // Sent again by another client, it gets the proof of that client.
    let pairs: Vec<(&str, &str)> =
        message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut bob = Client::connect(&scene.broker, &login("bob-1", "bob")).unwrap();
    assert_eq!(bob.publish(&message.topic, "payload", &pairs), Some(0));
    assert_eq!(verify(&scene.subscriber.message()).unwrap().0, "bob");
}

#[test]
fn a_retained_message_and_a_queued_one_keep_their_proof_over_a_restart() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let stored = Connect { is_clean: false, expiry: 3600, ..login("subscriber", "reader") };
    let mut subscriber = Client::connect(&broker, &stored).unwrap();
    assert_eq!(subscriber.subscribe("queue/#"), 1);
    subscriber.disconnect();
    let mut alice = Client::connect(&broker, &login("alice-1", "alice")).unwrap();
    wait::until("the message is queued", || alice.publish("queue/1", "queued", &[]) == Some(0));
    alice.disconnect();
    daemon.forget();
    broker.restart();
    daemon.wait_connected();
    let mut subscriber = Client::connect(&broker, &stored).unwrap();
    assert_eq!(verify(&subscriber.message()).unwrap().0, "alice");
}

#[test]
fn a_client_that_sends_reserved_properties_can_be_refused() {
    let mut scene = Scene::new(&Config::default().option("reserved reject"));
    let mut alice = Client::connect(&scene.broker, &login("alice-1", "alice")).unwrap();
    assert_eq!(alice.publish("a/b", "x", &[("sluice-publisher", "root")]), Some(0x87));
    assert_eq!(alice.publish("a/b", "fine", &[("own", "x")]), Some(0));
    assert_eq!(scene.subscriber.message().payload, b"fine");
}

#[test]
fn without_proofs_forged_properties_are_removed_all_the_same() {
    let mut scene = Scene::new(&Config::default().option("stamp off"));
    let mut alice = Client::connect(&scene.broker, &login("alice-1", "alice")).unwrap();
    assert_eq!(alice.publish("a/b", "x", &[("sluice-publisher", "root")]), Some(0));
    let message = scene.subscriber.message();
    assert!(message.properties.iter().all(|(name, _)| !name.starts_with("sluice-")), "{message:?}");
}

#[test]
fn a_user_of_the_password_file_is_named_in_the_proof() {
    let daemon = Daemon::start();
    let config = Config { acl: Some("pattern readwrite #\n"), ..Config::default() };
    let config = config.option("unknown defer").user("gate", "way").user("reader", "r");
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    daemon.answer(|_| {
        let reason = "unknown".to_owned();
        Some(sluice_shared::frames::from_daemon::Verdict::Denied { reason })
    });
    let with = |client_id, username, password| Connect {
        client_id,
        username: Some(username),
        password: Some(password),
        ..Connect::default()
    };
    let mut reader = Client::connect(&broker, &with("r", "reader", "r")).unwrap();
    assert_eq!(reader.subscribe("#"), 1);
    let mut gate = Client::connect(&broker, &with("g", "gate", "way")).unwrap();
    assert_eq!(gate.publish("a/b", "x", &[]), Some(0));
    assert_eq!(verify(&reader.message()).unwrap().0, "gate");
    assert!(Client::connect(&broker, &with("g2", "gate", "bad")).is_err());
}

#[test]
fn memory_stays_flat_under_forged_properties() {
    let mut scene = Scene::new(&Config::default());
    let mut alice = Client::connect(&scene.broker, &login("alice-1", "alice")).unwrap();
    let pairs = [("sluice-publisher", "root"), ("own", "x"), ("Sluice-Publisher", "forged")];
    let mut round = |count: usize| {
        for _ in 0..count {
            assert_eq!(alice.publish("a/b", "x", &pairs), Some(0));
            assert!(scene.subscriber.message_within(Duration::from_secs(30)).is_some());
        }
        scene.broker.resident_kib()
    };
    let before = round(2_000);
    let after = round(10_000);
    assert!(after < before + 1_024, "{before} KiB, then {after} KiB");
}
