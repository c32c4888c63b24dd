//! Wills: the broker shows them to no plugin as messages, so each is published again with a proof.

use std::time::Duration;

use crate::client::{Client, Connect};
use crate::daemon::{Daemon, verify};
use crate::mosquitto::{Config, Mosquitto};

const FORGED: &[(&str, &str)] = &[("sluice-publisher", "root"), ("sluice-publisher", "root AQ")];

fn login<'a>(client_id: &'a str, username: &'a str) -> Connect<'a> {
    Connect { client_id, username: Some(username), password: Some("good"), ..Connect::default() }
}

fn scene(config: &Config) -> (Daemon, Mosquitto, Client) {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), config);
    daemon.wait_connected();
    let mut subscriber = Client::connect(&broker, &login("subscriber", "reader")).unwrap();
    assert_eq!(subscriber.subscribe("#"), 1);
    (daemon, broker, subscriber)
}

#[test]
fn the_will_of_a_cut_client_carries_its_proof_and_nothing_forged() {
    let (_daemon, broker, mut subscriber) = scene(&Config::default());
    let connect =
        Connect { will: Some(("last/words", "gone", FORGED)), ..login("alice-1", "alice") };
    Client::connect(&broker, &connect).unwrap().cut();
    let message = subscriber.message();
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("last/words", &b"gone"[..]));
    let (identity, proof) = verify(&message).unwrap();
    assert_eq!((identity.as_str(), proof.is_will), ("alice", true));
    assert!(subscriber.message_within(Duration::from_millis(300)).is_none(), "only once");
}

#[test]
fn the_will_of_a_session_that_is_taken_over_carries_its_proof() {
    let (_daemon, broker, mut subscriber) = scene(&Config::default());
    let connect =
        Connect { will: Some(("last/words", "gone", FORGED)), ..login("alice-1", "alice") };
    let _first = Client::connect(&broker, &connect).unwrap();
    let mut second = Client::connect(&broker, &login("alice-1", "alice")).unwrap();
    let (identity, proof) = verify(&subscriber.message()).unwrap();
    assert_eq!((identity.as_str(), proof.is_will), ("alice", true));
    assert_eq!(second.publish("a/b", "alive", &[]), Some(0));
    let (_, proof) = verify(&subscriber.message()).unwrap();
    assert!(!proof.is_will, "the new session publishes as itself");
}

#[test]
fn the_will_of_a_stored_session_carries_its_proof() {
    let (_daemon, broker, mut subscriber) = scene(&Config::default());
    let connect = Connect {
        will: Some(("last/words", "gone", FORGED)),
        is_clean: false,
        expiry: 3600,
        ..login("alice-1", "alice")
    };
    Client::connect(&broker, &connect).unwrap().cut();
    assert!(verify(&subscriber.message()).unwrap().1.is_will);
    let mut again = Client::connect(&broker, &Connect { will: None, ..connect }).unwrap();
    assert_eq!(again.publish("a/b", "alive", &[]), Some(0));
    assert!(!verify(&subscriber.message()).unwrap().1.is_will);
}

#[test]
fn a_will_outside_the_policy_is_not_published() {
    let (daemon, broker, mut subscriber) = scene(&Config::default());
    let identity = broker.authority().issue("acme/device/pump-1");
    daemon.certify("acme/device/pump-1", &[&identity]);
    let connect = Connect {
        client_id: "acme/device/pump-1",
        will: Some(("tenant/acme/device/pump-2/event", "{}", &[])),
        ..Connect::default()
    };
    Client::connect_tls(&broker, &identity, &connect).unwrap().cut();
    let own = Connect { will: Some(("tenant/acme/device/pump-1/event", "{}", &[])), ..connect };
    Client::connect_tls(&broker, &identity, &own).unwrap().cut();
    assert_eq!(subscriber.message().topic, "tenant/acme/device/pump-1/event");
}

#[test]
fn wills_can_be_denied() {
    let (_daemon, broker, mut subscriber) = scene(&Config::default().option("wills deny"));
    let connect = Connect { will: Some(("last/words", "gone", &[])), ..login("alice-1", "alice") };
    Client::connect(&broker, &connect).unwrap().cut();
    let mut bob = Client::connect(&broker, &login("bob-1", "bob")).unwrap();
    assert_eq!(bob.publish("a/b", "next", &[]), Some(0));
    assert_eq!(subscriber.message().topic, "a/b");
}
