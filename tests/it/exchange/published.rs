//! What handles publish: in order, within the broker's window, with all properties; and nothing that
//! would end the connection.

use std::process::{Command, Stdio};

use bytes::Bytes;
use sluice::broker::exchange::ExchangeState;
use sluice::domain::device_topics;
use sluice::domain::exchange::{ExchangeOutcome, OutgoingMessage};

use super::exchange_harness::{ExchangeHarness, idle, message, of_devices, topic};
use crate::broker::session_harness::config;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::process::find_program;
use crate::support::wait;

/// Mosquitto's own client, subscribed; it ends after this many messages.
fn subscriber(broker: &Mosquitto, filter: &str, count: usize, format: &str) -> std::process::Child {
    let program = find_program("mosquitto_sub").expect("mosquitto-clients is installed");
    let (port, count) = (broker.port().to_string(), count.to_string());
    let child = Command::new(program)
        .args(["-V", "5", "-q", "1", "-p", &port, "-t", filter, "-C", &count, "-W", "60"])
        .args(["-i", "subscriber", "-F", format])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("it is subscribed", || broker.log().contains("Sending SUBACK to subscriber"));
    child
}

fn said(child: std::process::Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn five_hundred_messages_pass_a_window_of_twenty_in_order() {
    let options = MosquittoOptions::default().line("max_inflight_messages 20");
    let broker = Mosquitto::start(options);
    let exchange = ExchangeHarness::start_well(&config(broker.port()), idle_but_connected());
    let child = subscriber(&broker, "a/b", 500, "%p");
    let outcomes: Vec<_> =
        (0..500).map(|number| exchange.send(message("a/b", &number.to_string()))).collect();
    for outcome in outcomes {
        assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Accepted);
    }
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(said(child).lines().collect::<Vec<_>>(), expected);
    assert_eq!(exchange.reconnects(), 0);
}

/// Requests keep it connected.
fn idle_but_connected() -> sluice::broker::exchange::subscriptions::ExchangeSubscriptions {
    of_devices()
}

#[test]
fn a_message_carries_its_properties_and_a_retained_one_stays_until_it_is_cleared() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let exchange = ExchangeHarness::start_well(&config(broker.port()), of_devices());
    let child = subscriber(&broker, "a/#", 1, "%t %p %C %D %R %E %r");
    let full = OutgoingMessage {
        response_topic: Some(topic("a/ack")),
        correlation: Some(Bytes::from_static(b"abc")),
        ..message("a/b", "{}").expiring(60)
    };
    assert_eq!(exchange.publish(full), ExchangeOutcome::Accepted);
    assert_eq!(said(child).trim(), "a/b {} application/json abc a/ack 60 0");
    assert_eq!(exchange.publish(message("a/c", "kept").retained()), ExchangeOutcome::Accepted);
    assert_eq!(said(subscriber(&broker, "a/c", 1, "%p %r")).trim(), "kept 1");
    exchange.publish(OutgoingMessage::clear(topic("a/c")));
    exchange.publish(message("a/c", "second").retained());
    assert_eq!(said(subscriber(&broker, "a/c", 1, "%p %r")).trim(), "second 1");
}

#[test]
fn no_message_of_a_handle_ends_the_connection() {
    let options =
        MosquittoOptions::default().line("max_packet_size 20000").line("retain_available false");
    let broker = Mosquitto::start(options);
    let exchange = ExchangeHarness::start_well(
        &config(broker.port()),
        sluice::broker::exchange::subscriptions::ExchangeSubscriptions {
            marker: None,
            ..of_devices()
        },
    );
    let large = "x".repeat(20_000);
    assert_eq!(exchange.publish(message("a", &large)), ExchangeOutcome::Refused(0x95));
    assert_eq!(exchange.publish(message("a", "{}").retained()), ExchangeOutcome::Refused(0x9a));
    let odd = OutgoingMessage {
        user_properties: vec![("why", "a\u{1}b\u{ffff}".to_owned())],
        ..message(&"/".repeat(200), "{}")
    };
    assert_eq!(exchange.publish(odd), ExchangeOutcome::Accepted);
    assert_eq!(exchange.publish(message("a", "{}")), ExchangeOutcome::Accepted);
    assert_eq!((exchange.reconnects(), exchange.is_connected()), (0, true));
}

#[test]
fn without_an_api_it_connects_with_the_first_message_and_finds_the_marker() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = config(broker.port());
    let own = format!("as {}-api", settings.client_id);
    let exchange = ExchangeHarness::start(&settings, idle());
    // Another client comes and goes; the exchange would have had its time.
    super::exchange_harness::mosquitto_pub(broker.port(), &["-t", "x", "-m", "x"]);
    assert!(!broker.log().contains(&own) && exchange.trouble().is_none());
    let marker = || OutgoingMessage::json(device_topics::marker(), "7f").retained();
    assert_eq!(exchange.publish(marker()), ExchangeOutcome::Accepted);
    assert!(broker.log().contains(&own));
    exchange.wait_until_well();
    wait::until(
        "its own marker came back",
        || matches!(exchange.state(), ExchangeState::Connected { marker: Some(content), .. } if content == "7f"),
    );
    exchange.end();
    let again = ExchangeHarness::start_well(&settings, of_devices());
    assert!(
        matches!(again.state(), ExchangeState::Connected { marker: Some(content), .. } if content == "7f")
    );
}

#[test]
fn what_is_queued_at_the_stop_is_published_before_the_disconnect() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let settings = config(broker.port());
    let exchange = ExchangeHarness::start_well(&settings, of_devices());
    let child = subscriber(&broker, "a/b", 200, "%p");
    let outcomes: Vec<_> = (0..200)
        .map(|number| {
            exchange.handle.as_ref().unwrap().try_send(message("a/b", &number.to_string())).unwrap()
        })
        .collect();
    exchange.end();
    assert_eq!(said(child).lines().count(), 200);
    drop(outcomes);
    let end = format!("Received DISCONNECT from {}-api", settings.client_id);
    wait::until("it disconnected", || broker.log().contains(&end));
}
