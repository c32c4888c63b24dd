//! A drain, byte by byte: what the session sends in which order, and what it does not take for an end.

use std::time::Duration;

use sluice::config::sections::broker::BrokerConfig;
use sluice::domain::broker_subscription::SessionMemory;
use sluice::lifecycle::draining::{DrainDesk, DrainPhase};

use super::peer::{Caller, DISCONNECT, PINGREQ, PUBACK, Peer, UNSUBSCRIBE, packet};
use super::session_harness::{SessionHarness, config};
use crate::support::wait;

/// PINGRESP.
const PINGRESP: [u8; 2] = [0xd0, 0];

/// A member of a scripted broker that is ordered to drain, and the connection up to its UNSUBSCRIBE.
fn draining(peer: &Peer) -> (SessionHarness, DrainDesk, Caller) {
    draining_as(peer, config(peer.port()))
}

fn draining_as(peer: &Peer, start: BrokerConfig) -> (SessionHarness, DrainDesk, Caller) {
    let desk = DrainDesk::default();
    let order = desk.clone();
    let session = SessionHarness::start_as(start, SessionMemory::default(), |session| {
        session.draining(order)
    });
    let mut caller = peer.welcome(false);
    session.wait_until_well();
    assert!(desk.order("cli:a"));
    expect_unsubscribe(&mut caller);
    (session, desk, caller)
}

fn expect_unsubscribe(caller: &mut Caller) {
    let body = caller.expect(UNSUBSCRIBE);
    assert_eq!(body[..3], [0, 4, 0]);
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("tenant/+/device/+/#") && text.contains("$SYS/broker/"), "{text}");
}

/// UNSUBACK for both filters.
fn answer_unsubscribe(caller: &mut Caller, code: u8) {
    caller.send(&packet(0xb0, &[0, 4, 0, code, 0x11]));
}

#[test]
fn a_session_ends_behind_the_last_acknowledgement_and_an_answered_ping() {
    let peer = Peer::listen();
    let (mut session, desk, mut caller) = draining(&peer);
    caller.publish(7, b"{}");
    answer_unsubscribe(&mut caller, 0);
    let message = session.next();
    wait::until("it is unsubscribed", || desk.state().phase == DrainPhase::Unsubscribed);
    session.acknowledge(message);
    caller.expect_answer(PUBACK, 7);
    // A broker that does not answer is not quiet, and one that answers behind a message neither.
    caller.expect(PINGREQ);
    assert!(!desk.state().has_ended());
    caller.publish(8, b"{}");
    caller.send(&PINGRESP);
    let message = session.next();
    session.acknowledge(message);
    caller.expect_answer(PUBACK, 8);
    caller.expect(PINGREQ);
    caller.send(&PINGRESP);
    assert_eq!(caller.expect(DISCONNECT), [0, 5, 0x11, 0, 0, 0, 0], "the session expires at once");
    drop(caller);
    wait::until("the session has ended", || desk.state().has_ended());
    assert_eq!(desk.state().taken, 2);
    session.stop();
    session.finish();
}

#[test]
fn the_answer_to_a_ping_of_the_keepalive_does_not_end_a_drain() {
    let peer = Peer::listen();
    let start = BrokerConfig { keepalive: Duration::from_secs(5), ..config(peer.port()) };
    let (mut session, desk, mut caller) = draining_as(&peer, start);
    // It has no answer when the ping of the drain follows.
    caller.expect(PINGREQ);
    answer_unsubscribe(&mut caller, 0);
    caller.expect(PINGREQ);
    caller.send(&PINGRESP);
    // The next packet is the next ping of the keepalive, and no DISCONNECT.
    caller.expect(PINGREQ);
    assert!(!desk.state().has_ended());
    caller.send(&PINGRESP);
    caller.send(&PINGRESP);
    caller.expect(DISCONNECT);
    drop(caller);
    wait::until("the session has ended", || desk.state().has_ended());
    session.stop();
    session.finish();
}

#[test]
fn a_broker_that_refuses_to_unsubscribe_keeps_its_member() {
    let peer = Peer::listen();
    let (mut session, desk, mut caller) = draining(&peer);
    answer_unsubscribe(&mut caller, 0x87);
    caller.answer_subscribe(1);
    let DrainPhase::GivenUp(why) = desk.state().phase else { panic!("{:?}", desk.state()) };
    assert!(why.contains("refuses UNSUBSCRIBE with code 0x87"), "{why}");
    caller.publish(7, b"{}");
    let message = session.next();
    session.acknowledge(message);
    caller.expect_answer(PUBACK, 7);
    session.stop();
    session.finish();
}

#[test]
fn a_new_connection_unsubscribes_first_and_never_subscribes_again() {
    let peer = Peer::listen();
    let (mut session, desk, caller) = draining(&peer);
    drop(caller);
    let mut caller = peer.accept();
    caller.answer_connect(&[1, 0, 0]);
    expect_unsubscribe(&mut caller);
    answer_unsubscribe(&mut caller, 0);
    caller.expect(PINGREQ);
    caller.send(&PINGRESP);
    caller.expect(DISCONNECT);
    drop(caller);
    wait::until("the session has ended", || desk.state().has_ended());
    session.stop();
    session.finish();
}

#[test]
fn an_adopter_gives_up_at_the_first_failure_and_takes_the_session_no_second_time() {
    let peer = Peer::listen();
    let desk = DrainDesk::default();
    desk.order("cli:a");
    let order = desk.clone();
    let start = config(peer.port());
    let mut session = SessionHarness::start_as(start, SessionMemory::default(), |session| {
        session.adopting(order)
    });
    let mut caller = peer.accept();
    caller.answer_connect(&[1, 0, 0]);
    expect_unsubscribe(&mut caller);
    // DISCONNECT: session taken over.
    caller.send(&[DISCONNECT, 1, 0x8e]);
    wait::until(
        "it is given up",
        || matches!(desk.state().phase, DrainPhase::GivenUp(why) if why.contains("the replica is back")),
    );
    session.stop();
    // It ends, so there is no further connection.
    session.finish();
}
