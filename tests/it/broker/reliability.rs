//! Acknowledgements reach the wire only on the connection they belong to; nothing is lost, no
//! matter what breaks.

use std::collections::BTreeSet;

use sluice::config::sections::broker::BrokerConfig;

use super::peer::{DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBREC, Peer, packet, publish};
use super::session_harness::{SessionHarness, config, numbered};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::wait;

#[test]
fn messages_pass_and_are_acknowledged_once_in_order() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = config(broker.port());
    let mut session = SessionHarness::start_well(settings.clone());
    assert_eq!(session.publish(&config(broker.port()), &numbered(1000)), 1000);
    for number in 0..1000 {
        let delivery = session.next();
        assert_eq!(delivery.payload, number.to_string());
        assert!(!delivery.maybe_repeated && !delivery.dup);
        session.acknowledge(delivery);
    }
    assert_eq!(session.metrics.broker.received.get(), 1000);
    assert_eq!(session.metrics.broker.queue_depth.get(), 0);
    wait::until("all are acknowledged", || session.metrics.broker.unacked.get() == 0);
    session.stop();
    session.finish();
    // Nothing is delivered again to the same session.
    let mut again = SessionHarness::start_well(settings);
    assert_eq!(again.publish(&config(broker.port()), &numbered(1)), 1);
    assert_eq!(again.next().payload, "0");
}

#[test]
fn what_was_not_acknowledged_comes_again_and_is_marked() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = config(broker.port());
    let mut session = SessionHarness::start_well(settings.clone());
    session.publish(&config(broker.port()), &numbered(3));
    let mut deliveries = session.take(3);
    session.acknowledge(deliveries.remove(0));
    session.stop();
    session.finish();
    let mut again = SessionHarness::start_well(settings);
    for expected in ["1", "2"] {
        let delivery = again.next();
        assert_eq!(delivery.payload, expected);
        assert!(delivery.maybe_repeated && delivery.dup);
    }
}

#[test]
fn acknowledgements_given_while_stopping_still_reach_the_broker() {
    let peer = Peer::listen();
    let mut session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    caller.publish(7, b"late");
    let late = session.next();
    session.stop();
    // After the stop nothing is taken any more.
    caller.publish(8, b"too late");
    session.acknowledge(late);
    caller.expect_answer(PUBACK, 7);
    let finishing = std::thread::spawn(|| session.finish());
    assert_eq!(caller.expect(DISCONNECT), Vec::<u8>::new());
    drop(caller);
    finishing.join().unwrap();
}

#[test]
fn an_acknowledgement_of_an_ended_connection_never_reaches_the_next_one() {
    let peer = Peer::listen();
    let mut session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    caller.publish(1, b"old");
    // Closed right after PUBLISH: the message is delivered all the same.
    drop(caller);
    let old = session.next();
    let mut caller = peer.welcome(true);
    caller.publish(1, b"other");
    caller.publish(2, b"new");
    let (other, new) = (session.next(), session.next());
    session.acknowledge(old);
    session.acknowledge(new);
    caller.expect_answer(PUBACK, 2);
    session.acknowledge(other);
    caller.expect_answer(PUBACK, 1);
    assert_eq!(session.metrics.broker.void_acks.get(), 1);
}

#[test]
fn acknowledgements_are_taken_and_dropped_while_there_is_no_connection() {
    let peer = Peer::listen();
    let mut session =
        SessionHarness::start(BrokerConfig { receive_maximum: 200, ..config(peer.port()) });
    let mut caller = peer.welcome(false);
    for packet_id in 1..=200 {
        caller.publish(packet_id, b"x");
    }
    let deliveries = session.take(200);
    drop(caller);
    // It connects without an answer: more acknowledgements than the channel holds must not block.
    let _silent = peer.accept();
    for delivery in deliveries {
        session.acknowledge(delivery);
    }
    wait::until("all are dropped", || session.metrics.broker.void_acks.get() == 200);
}

#[test]
fn repeated_packet_ids_in_flight_are_each_acknowledged() {
    let peer = Peer::listen();
    let mut session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    for payload in [b"a", b"b", b"c"] {
        caller.publish(9, payload);
    }
    let deliveries = session.take(3);
    wait::until("three are in flight", || session.metrics.broker.unacked.get() == 3);
    session.acknowledge_all(deliveries);
    for _ in 0..3 {
        caller.expect_answer(PUBACK, 9);
    }
}

#[test]
fn bytes_that_come_one_by_one_make_the_same_packets() {
    let peer = Peer::listen();
    let mut session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    let stream =
        [publish(0x32, 1, &[], b"one"), packet(0xd0, &[]), publish(0x3a, 2, &[], b"two")].concat();
    for byte in stream {
        caller.send(&[byte]);
    }
    let (one, two) = (session.next(), session.next());
    assert_eq!((&one.payload[..], one.dup, one.maybe_repeated), (&b"one"[..], false, false));
    assert_eq!((&two.payload[..], two.dup, two.maybe_repeated), (&b"two"[..], true, true));
}

#[test]
fn a_message_of_qos_2_takes_its_four_steps() {
    let peer = Peer::listen();
    let mut session = SessionHarness::start(config(peer.port()));
    let mut caller = peer.welcome(false);
    caller.send(&publish(0x34, 3, &[], b"exactly"));
    let delivery = session.next();
    session.acknowledge(delivery);
    caller.expect_answer(PUBREC, 3);
    caller.send(&packet(0x62, &[0, 3]));
    caller.expect_answer(PUBCOMP, 3);
}

#[test]
fn only_the_first_window_after_a_resumed_session_is_suspect() {
    let peer = Peer::listen();
    let mut session =
        SessionHarness::start(BrokerConfig { receive_maximum: 2, ..config(peer.port()) });
    let mut caller = peer.welcome(true);
    for packet_id in 1..=3 {
        caller.publish(packet_id, b"x");
    }
    let suspects: Vec<_> = session.take(3).iter().map(|delivery| delivery.maybe_repeated).collect();
    assert_eq!(suspects, [true, true, false]);
    wait::until("the window was seen full", || session.metrics.broker.window_full.get() == 1);
}

/// Mosquitto before 2.0.13 sends all it has: what is more than the window stays on its side of the
/// socket.
#[test]
fn a_broker_that_ignores_the_window_is_not_read_until_there_is_room() {
    let peer = Peer::listen();
    let keepalive = std::time::Duration::from_secs(1);
    let mut session = SessionHarness::start(BrokerConfig {
        receive_maximum: 2,
        keepalive,
        ..config(peer.port())
    });
    let mut caller = peer.welcome(false);
    let mut first = Vec::new();
    for packet_id in 1..=3 {
        caller.publish(packet_id, b"x");
        first.push(session.next());
    }
    caller.publish(4, b"too much");
    // Its loop went round meanwhile: a ping is sent by nothing else.
    for _ in 0..2 {
        caller.expect(PINGREQ);
    }
    assert_eq!(session.metrics.broker.unacked.get(), 3);
    session.acknowledge_all(first);
    assert_eq!(session.next().payload, "too much");
    assert_eq!(session.metrics.broker.reconnects.get(), 0);
}

#[test]
fn a_session_the_broker_forgot_is_counted() {
    let peer = Peer::listen();
    let session = SessionHarness::start(config(peer.port()));
    drop(peer.welcome(false));
    drop(peer.welcome(true));
    let _caller = peer.welcome(false);
    wait::until("the loss is counted", || session.metrics.broker.session_lost.get() == 1);
    assert_eq!(session.metrics.broker.reconnects.get(), 2);
}

#[test]
fn acknowledgements_and_pings_go_on_while_the_queue_is_full() {
    let peer = Peer::listen();
    let settings =
        BrokerConfig { keepalive: std::time::Duration::from_secs(1), ..config(peer.port()) };
    let mut session = SessionHarness::start(settings);
    let mut caller = peer.welcome(false);
    caller.publish(1, b"first");
    let first = session.next();
    // The queue holds one chunk: from the third message on the session can only wait.
    for packet_id in 2..=4 {
        caller.publish(packet_id, b"x");
        wait::until("it is in the queue, or held back", || {
            session.metrics.broker.unacked.get() >= i64::from(packet_id.min(3))
        });
    }
    session.acknowledge(first);
    caller.expect_answer(PUBACK, 1);
    // Longer than a silent broker is tolerated: reading is paused, so the connection is kept.
    for _ in 0..4 {
        caller.expect(PINGREQ);
    }
    assert_eq!(session.take(3).len(), 3);
    assert_eq!(session.metrics.broker.reconnects.get(), 0);
}

#[test]
fn the_brokers_own_count_of_dropped_messages_is_shown_and_not_delivered() {
    let options =
        MosquittoOptions::default().line("max_queued_messages 5").line("max_inflight_messages 1");
    let broker = Mosquitto::start(options);
    let settings = BrokerConfig { receive_maximum: 5, ..config(broker.port()) };
    let mut session = SessionHarness::start_well(settings);
    session.publish(&config(broker.port()), &numbered(100));
    // As many as the window holds; with them out of the queue, the broker's own note can be read.
    let messages = session.take(5);
    wait::until("the broker's drops are shown", || session.metrics.broker.broker_dropped.get() > 0);
    assert!(messages.iter().all(|message| message.topic.starts_with(b"tenant/")));
}

#[test]
fn nothing_is_lost_when_the_broker_restarts_again_and_again() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let mut session = SessionHarness::start_well(config(broker.port()));
    let mut missing: BTreeSet<String> = (0..600).map(|number| number.to_string()).collect();
    for round in numbered(600).chunks(200) {
        assert_eq!(session.publish(&config(broker.port()), round), 200);
        // Some are read and acknowledged, some read and not, the rest is still with the broker.
        for index in 0..90 {
            let delivery = session.next();
            if index % 3 != 0 {
                missing.remove(str::from_utf8(&delivery.payload).unwrap());
                session.acknowledge(delivery);
            }
        }
        broker.stop();
        broker.start_again();
    }
    while !missing.is_empty() {
        let delivery = session.next();
        missing.remove(str::from_utf8(&delivery.payload).unwrap());
        session.acknowledge(delivery);
    }
    assert_eq!(session.metrics.broker.session_lost.get(), 0);
}
