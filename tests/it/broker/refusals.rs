//! A broker that refuses, misbehaves or goes away: each is named with what to change, and none ends
//! the session.

use sluice::config::secret::Secret;
use sluice::config::sections::broker::BrokerConfig;

use super::peer::{DISCONNECT, PINGREQ, PUBACK, Peer, publish};
use super::session_harness::{SessionHarness, config, numbered};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::port;

#[test]
fn a_broker_that_is_not_there_is_tried_until_it_is() {
    let session = SessionHarness::start(config(port::free()));
    session.wait_for_trouble(&["no connection", "MQTT_HOST", "MQTT_PORT"]);
    let unknown = BrokerConfig { host: "no-such-host.invalid".into(), ..config(1883) };
    SessionHarness::start(unknown).wait_for_trouble(&["no-such-host.invalid", "MQTT_HOST"]);
}

#[test]
fn a_wrong_password_is_named_and_the_right_one_gets_in() {
    let broker = Mosquitto::start(MosquittoOptions::default().user("sluice", "right"));
    let login = |password: &str| BrokerConfig {
        username: Some("sluice".into()),
        password: Some(Secret::new(password.into())),
        ..config(broker.port())
    };
    let wrong = SessionHarness::start(login("wrong"));
    wrong.wait_for_trouble(&["0x87", "MQTT_USERNAME", "MQTT_PASSWORD"]);
    SessionHarness::start_well(login("right"));
    assert!(!format!("{:?}", wrong.readiness.troubles()).contains("wrong"));
}

#[test]
fn each_refusal_of_connect_is_named_and_tried_again() {
    for (connack, words) in [
        (&[0, 0x86, 0][..], &["0x86", "MQTT_PASSWORD"][..]),
        (&[0, 0x85, 0], &["0x85", "MQTT_CLIENT_ID"]),
        (&[0, 0x9f, 0], &["0x9F", "rate of connections"]),
        (b"\0\x89\x08\x1f\0\x05later", &["0x89", "later"]),
        (&[0, 1], &["MQTT 5"]),
    ] {
        let peer = Peer::listen();
        let session = SessionHarness::start(config(peer.port()));
        peer.accept().answer_connect(connack);
        session.wait_for_trouble(words);
        let _caller = peer.welcome(false);
        session.wait_until_well();
    }
}

#[test]
fn each_refusal_of_the_subscription_is_named_and_tried_again() {
    for (code, words) in [
        (0x80, &["0x80", "read MQTT_TOPIC"][..]),
        (0x87, &["0x87", "read MQTT_TOPIC"]),
        (0x9e, &["0x9E", "MQTT_SHARE_GROUP"]),
        (0x97, &["0x97", "quota"]),
        (0, &["QoS 0"]),
    ] {
        let peer = Peer::listen();
        let session = SessionHarness::start(config(peer.port()));
        let mut caller = peer.accept();
        caller.answer_connect(&[0, 0, 0]);
        caller.answer_subscribe(code);
        session.wait_for_trouble(words);
        caller.expect_end();
        let _caller = peer.welcome(true);
        session.wait_until_well();
    }
}

#[test]
fn a_session_that_was_taken_over_names_the_client_id() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let shared = config(broker.port());
    let first = SessionHarness::start_well(shared.clone());
    let _second = SessionHarness::start_well(shared);
    // Mosquitto 2.0.11 only closes the connection.
    first.wait_for_trouble(&["MQTT_CLIENT_ID"]);
    let peer = Peer::listen();
    let session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    caller.send(&[DISCONNECT, 2, 0x8e, 0]);
    session.wait_for_trouble(&["0x8E", "took over", "MQTT_CLIENT_ID"]);
}

#[test]
fn a_peer_that_does_not_use_mqtt_is_named_and_disconnected() {
    let peer = Peer::listen();
    let session = SessionHarness::start(config(peer.port()));
    peer.accept().send(b"\x15\x03\x03\x00\x02\x02\x0a");
    session.wait_for_trouble(&["not MQTT 5", "MQTT_TLS"]);
    let mut caller = peer.welcome(false);
    session.wait_until_well();
    // No broker sends it to a client that renews no login.
    caller.send(&[0xf0, 0]);
    assert_eq!(caller.expect(DISCONNECT), [0x82]);
    session.wait_for_trouble(&["AUTH without a renewal of the login"]);
}

#[test]
fn a_broker_that_closes_instead_of_answering_raises_the_question_of_tls() {
    let peer = Peer::listen();
    let session = SessionHarness::start(config(peer.port()));
    drop(peer.accept());
    session.wait_for_trouble(&["closed the connection instead", "MQTT_TLS=1"]);
}

#[test]
fn a_half_dead_broker_is_given_up() {
    let peer = Peer::listen();
    let session = SessionHarness::start(BrokerConfig {
        keepalive: std::time::Duration::from_secs(1),
        ..config(peer.port())
    });
    let mut caller = peer.welcome(false);
    caller.expect(PINGREQ);
    caller.expect(PINGREQ);
    session.wait_for_trouble(&["sent nothing"]);
    let _caller = peer.welcome(true);
    session.wait_until_well();
    assert_eq!(session.metrics.broker.reconnects.get(), 1);
}

#[test]
fn the_keepalive_of_the_broker_counts() {
    let peer = Peer::listen();
    let session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.accept();
    // Server keep alive: 1 s, where the settings say 30.
    caller.answer_connect(&[0, 0, 3, 0x13, 0, 1]);
    caller.answer_subscribe(1);
    session.wait_until_well();
    caller.expect(PINGREQ);
}

#[test]
fn messages_that_are_malformed_or_too_large_harm_only_themselves() {
    let peer = Peer::listen();
    let mut session =
        SessionHarness::start(BrokerConfig { max_packet_bytes: 500, ..config(peer.port()) });
    let mut caller = peer.welcome(false);
    // A property that does not exist, a content type that is not UTF-8, a topic that runs over the
    // end.
    caller.send(&publish(0x32, 1, &[0x7f, 1, 2], b"one"));
    caller.send(&publish(0x32, 2, &[3, 0, 2, 0xff, 0xfe], b"two"));
    caller.send(&[0x32, 4, 0xff, 0xff, 0, 3]);
    caller.publish(4, &vec![b'x'; 1_000_000]);
    caller.publish(5, b"five");
    for (packet_id, payload) in [(1, "one"), (2, "two")] {
        let delivery = session.next();
        assert_eq!((&delivery.payload[..], delivery.cut_from), (payload.as_bytes(), None));
        session.acknowledge(delivery);
        caller.expect_answer(PUBACK, packet_id);
    }
    let cut = session.next();
    assert_eq!(cut.cut_from, Some(1_000_000));
    assert!(cut.payload.len() < 1_000_000 && cut.payload.iter().all(|&byte| byte == b'x'));
    let last = session.next();
    assert_eq!((&last.payload[..], last.cut_from), (&b"five"[..], None));
    session.acknowledge_all(vec![cut, last]);
    caller.expect_answer(PUBACK, 4);
    caller.expect_answer(PUBACK, 5);
    assert_eq!(session.metrics.broker.malformed.get(), 1);
    assert_eq!(session.metrics.broker.reconnects.get(), 0);
}

#[test]
fn a_message_over_the_limit_passes_a_real_broker_and_is_delivered_cut() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let mut session = SessionHarness::start_well(BrokerConfig {
        max_packet_bytes: 10_000,
        ..config(broker.port())
    });
    let mut messages = numbered(2);
    messages.insert(1, ("tenant/t/device/d/telemetry".into(), vec![b'x'; 2_000_000]));
    assert_eq!(session.publish(&config(broker.port()), &messages), 3);
    let cuts: Vec<_> = session.take(3).iter().map(|delivery| delivery.cut_from).collect();
    assert_eq!(cuts, [None, Some(2_000_000), None]);
}
