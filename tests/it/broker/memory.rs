//! What a session knows of former runs, and what it does with it: against a scripted peer.

use sluice::config::sections::broker::BrokerConfig;
use sluice::domain::broker_subscription::{SessionMemory, Subscribed};
use sluice::domain::time::Timestamp;

use super::peer::{Caller, Peer, UNSUBSCRIBE, packet};
use super::session_harness::{SessionHarness, config};
use crate::support::wait;

/// What a run left that was subscribed to these at this broker.
fn left(broker: &BrokerConfig, filters: &[&str]) -> SessionMemory {
    let subscribed = Some(Subscribed { broker: broker.address(), at: Timestamp::from_micros(1) });
    SessionMemory {
        subscribed,
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    }
}

/// Reads the UNSUBSCRIBE from these and answers with these codes.
fn give_up(caller: &mut Caller, filters: &[&str], codes: &[u8]) {
    let mut expected = vec![0, 3, 0];
    for filter in filters {
        expected.extend([0, u8::try_from(filter.len()).unwrap()]);
        expected.extend(filter.as_bytes());
    }
    assert_eq!(caller.expect(UNSUBSCRIBE), expected);
    caller.send(&packet(0xb0, &[&[0, 3, 0], codes].concat()));
}

fn wait_remembered(session: &SessionHarness, filters: &[&str]) {
    wait::for_ok(&format!("it remembers {filters:?}"), || {
        let memory = session.remembered.borrow().clone();
        if memory.filters == filters { Ok(()) } else { Err(format!("{memory:?}")) }
    });
}

#[test]
fn former_subscriptions_are_given_up_once_the_new_one_is_granted() {
    let peer = Peer::listen();
    let settings = config(peer.port());
    let memory = left(&settings, &["a/#", &settings.topic, "$share/g/a/#"]);
    let session = SessionHarness::start_with(settings.clone(), memory);
    let mut caller = peer.welcome(true);
    wait_remembered(&session, &["a/#", "$share/g/a/#", &settings.topic]);
    // Of one of them the broker knows nothing any more: that is as good.
    give_up(&mut caller, &["a/#", "$share/g/a/#"], &[0, 0x11]);
    wait_remembered(&session, &[&settings.topic]);
    assert_eq!(session.remembered.borrow().subscribed.as_ref().unwrap().broker, settings.address());
    assert_eq!(session.metrics.broker.session_lost.get(), 0);
}

#[test]
fn a_subscription_the_broker_will_not_give_up_is_asked_for_again() {
    let peer = Peer::listen();
    let settings = config(peer.port());
    let session =
        SessionHarness::start_with(settings.clone(), left(&settings, &["a/#", "b/#", "c/#"]));
    let mut caller = peer.welcome(true);
    // And of the third it says nothing.
    give_up(&mut caller, &["a/#", "b/#", "c/#"], &[0x87, 0]);
    wait_remembered(&session, &["a/#", "c/#", &settings.topic]);
    drop(caller);
    let mut caller = peer.welcome(true);
    give_up(&mut caller, &["a/#", "c/#"], &[0, 0]);
    wait_remembered(&session, &[&settings.topic]);
}

#[test]
fn nothing_is_given_up_while_the_new_subscription_is_refused() {
    let peer = Peer::listen();
    let settings = config(peer.port());
    let session = SessionHarness::start_with(settings.clone(), left(&settings, &["a/#"]));
    let mut caller = peer.accept();
    caller.answer_connect(&[1, 0, 0]);
    caller.answer_subscribe(0x87);
    caller.expect_end();
    session.wait_for_trouble(&["read MQTT_TOPIC"]);
    // Once it is granted, the former one goes.
    let mut caller = peer.welcome(true);
    give_up(&mut caller, &["a/#"], &[0]);
    wait_remembered(&session, &[&settings.topic]);
}

#[test]
fn a_session_that_the_broker_lost_between_runs_is_counted() {
    let peer = Peer::listen();
    let settings = config(peer.port());
    let session = SessionHarness::start_with(settings.clone(), left(&settings, &["a/#"]));
    let _caller = peer.welcome(false);
    wait_remembered(&session, &[&settings.topic]);
    assert_eq!(session.metrics.broker.session_lost.get(), 1);
}

#[test]
fn a_new_session_at_another_broker_is_no_loss() {
    let peer = Peer::listen();
    let settings = config(peer.port());
    let elsewhere = BrokerConfig { host: "elsewhere".into(), ..settings.clone() };
    let session = SessionHarness::start_with(settings.clone(), left(&elsewhere, &["a/#"]));
    let _caller = peer.welcome(false);
    wait_remembered(&session, &[&settings.topic]);
    assert_eq!(session.metrics.broker.session_lost.get(), 0);
}
