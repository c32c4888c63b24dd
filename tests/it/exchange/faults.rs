//! The broker killed, frozen and restarted; a connection cut while messages are unanswered.

use std::time::Duration;

use sluice::domain::exchange::ExchangeOutcome;

use super::exchange_harness::{ExchangeHarness, message, mosquitto_pub, of_devices};
use crate::broker::peer::{PINGREQ, Peer, SUBSCRIBE, packet};
use crate::broker::session_harness::config;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

const TIME: &str = "tenant/acme/device/p1/request/time";

fn request_arrives(exchange: &mut ExchangeHarness, broker: &Mosquitto) {
    mosquitto_pub(broker.port(), &["-q", "1", "-t", TIME, "-m", "{}"]);
    assert_eq!(&exchange.next().payload[..], b"{}");
}

#[test]
fn after_a_broker_that_was_killed_restarted_or_frozen_requests_arrive_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let mut exchange = ExchangeHarness::start_well(&config(broker.port()), of_devices());
    request_arrives(&mut exchange, &broker);
    broker.kill9();
    wait::until("the exchange notices", || !exchange.is_connected());
    exchange.wait_for_trouble(&["impaired"]);
    assert_eq!(exchange.metrics.exchange.connection.connected.get(), 0);
    // Nobody waits for a broker that is away.
    assert_eq!(exchange.publish(message("a", "{}")), ExchangeOutcome::Unknown);
    broker.start_again();
    exchange.wait_until_well();
    request_arrives(&mut exchange, &broker);

    broker.signal("STOP");
    let unanswered = exchange.send(message("a", "{}"));
    // 7.5 s without an answer to a ping.
    wait::within(Duration::from_secs(20), "the exchange notices", || {
        if exchange.is_connected() { Err("connected".to_owned()) } else { Ok(()) }
    });
    assert_eq!(exchange.outcome(unanswered), ExchangeOutcome::Unknown);
    broker.signal("CONT");
    exchange.wait_until_well();
    request_arrives(&mut exchange, &broker);
    assert_eq!(exchange.publish(message("a", "{}")), ExchangeOutcome::Accepted);
    assert!(exchange.reconnects() >= 2);
}

#[test]
fn messages_of_a_lost_connection_have_an_unknown_outcome_and_later_answers_are_void() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let proxy = Proxy::to(broker.port());
    let exchange = ExchangeHarness::start_well(&config(proxy.port()), of_devices());
    proxy.hold(Direction::ToClient);
    let lost: Vec<_> = (0..50).map(|_| exchange.send(message("a", "{}"))).collect();
    wait::until("they are sent", || exchange.metrics.exchange.connection.unacked.get() == 50);
    proxy.cut();
    proxy.release(Direction::ToClient);
    for outcome in lost {
        assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Unknown);
    }
    exchange.wait_until_well();
    assert_eq!(exchange.publish(message("a", "{}")), ExchangeOutcome::Accepted);
}

#[test]
fn a_message_that_waits_for_a_lost_connection_is_not_sent_on_the_next_one() {
    let peer = Peer::listen();
    let mut settings = of_devices();
    (settings.marker, settings.writes) = (None, Vec::new());
    let exchange = ExchangeHarness::start(&config(peer.port()), settings);
    let mut caller = peer.accept();
    // Receive Maximum 1: the second message waits for the answer to the first.
    caller.answer_connect(&[0, 0, 3, 0x21, 0, 1]);
    caller.expect(SUBSCRIBE);
    caller.send(&packet(0x90, &[0, 2, 0, 1]));
    exchange.wait_until_well();
    let lost = ["a", "b"].map(|topic| exchange.send(message(topic, "{}")));
    assert_eq!(&caller.expect(0x32)[..3], b"\0\x01a");
    drop(caller);
    let mut caller = peer.accept();
    caller.answer_connect(&[0, 0, 0]);
    caller.expect(SUBSCRIBE);
    caller.send(&packet(0x90, &[0, 2, 0, 1]));
    for outcome in lost {
        assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Unknown);
    }
    exchange.wait_until_well();
    let outcome = exchange.send(message("c", "{}"));
    let publish = loop {
        match caller.packet() {
            (0x32, body) => break body,
            (PINGREQ, _) => caller.send(&packet(0xd0, &[])),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(&publish[..3], b"\0\x01c");
    caller.send(&packet(0x40, &[publish[3], publish[4]]));
    assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Accepted);
}

#[test]
fn an_answer_to_nothing_harms_nothing_and_a_silent_broker_is_left() {
    let peer = Peer::listen();
    let mut settings = of_devices();
    (settings.marker, settings.writes) = (None, Vec::new());
    let exchange = ExchangeHarness::start(&config(peer.port()), settings);
    let mut caller = peer.accept();
    caller.answer_connect(&[0, 0, 0]);
    assert_eq!(caller.expect(0x82)[..2], [0, 2]);
    caller.send(&packet(0x90, &[0, 2, 0, 1]));
    exchange.wait_until_well();
    // PUBACKs of messages that this connection never sent.
    caller.send(&packet(0x40, &[4, 0]));
    caller.send(&packet(0x40, &[0, 2, 0x87, 0]));
    let outcome = exchange.send(message("a", "{}"));
    let publish = caller.expect(0x32);
    assert_eq!(&publish[..3], b"\0\x01a");
    caller.send(&packet(0x40, &[publish[3], publish[4]]));
    assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Accepted);
    caller.expect(PINGREQ);
    exchange.wait_for_trouble(&["sent nothing for 7 s"]);
    let _again = peer.accept();
}
