//! Access rules that are missing: readiness names the line, the connection stays, and a rule that is
//! added acts without a restart.

use std::fs;

use sluice::domain::exchange::ExchangeOutcome;

use super::exchange_harness::{ExchangeHarness, idle, message, of_devices};
use crate::broker::peer::{Peer, packet};
use crate::broker::session_harness::config;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use sluice::config::sections::broker::BrokerConfig;

const RESPONSE: &str = "topic write tenant/+/device/+/response/#\n";
const RULES: &str = "user sluice\ntopic read #\ntopic write tenant/+/device/+/commands\n\
    topic write tenant/+/device/+/shadow/desired\ntopic write tenant/+/device/+/errors\n\
    topic write tenant/+/device/+/notices/#\ntopic readwrite sluice/#\n";

fn broker(rules: &str) -> Mosquitto {
    let options = MosquittoOptions { acl: Some(rules.to_owned()), ..MosquittoOptions::default() };
    Mosquitto::start(options.user("sluice", "any"))
}

fn as_sluice(port: u16) -> BrokerConfig {
    BrokerConfig {
        username: Some("sluice".into()),
        password: Some(sluice::config::secret::Secret::new("any".into())),
        ..config(port)
    }
}

#[test]
fn a_missing_write_is_named_at_the_connect_and_forgotten_when_it_is_there() {
    let broker = broker(RULES);
    let exchange = ExchangeHarness::start(&as_sluice(broker.port()), of_devices());
    let trouble = exchange.wait_for_trouble(&["`topic write tenant/+/device/+/response/#`"]);
    assert!(trouble.contains("user sluice") && !trouble.contains("commands"), "{trouble}");
    let response = || message("tenant/acme/device/p1/response/time/accepted", "{}");
    assert_eq!(exchange.publish(response()), ExchangeOutcome::Refused(0x87));
    assert_eq!(
        exchange.publish(message("tenant/acme/device/p1/commands", "{}")),
        ExchangeOutcome::Accepted
    );
    // Refused writes are no reason to reconnect, and subscriptions are whole.
    assert_eq!((exchange.reconnects(), exchange.is_connected()), (0, true));
    assert_eq!(exchange.metrics.exchange.connection.connected.get(), 1);
    let rendered = String::from_utf8(exchange.metrics.render().unwrap()).unwrap();
    assert!(rendered.contains("sluice_pushes_refused_total{code=\"0x87\"}"), "{rendered}");
    fs::write(broker.dir().path().join("acl"), format!("{RULES}{RESPONSE}")).unwrap();
    broker.signal("HUP");
    exchange.wait_until_well();
    assert_eq!(exchange.publish(response()), ExchangeOutcome::Accepted);
    assert_eq!(exchange.reconnects(), 0);
}

#[test]
fn a_refused_topic_that_a_request_named_makes_nothing_unready_unless_the_line_is_missing() {
    let narrow = format!("{RULES}topic write tenant/+/device/+/response/+\n");
    let broker = broker(&narrow);
    let exchange = ExchangeHarness::start_well(&as_sluice(broker.port()), of_devices());
    let deep = || message("tenant/acme/device/p1/response/x/y", "{}");
    let command = || message("tenant/acme/device/p1/commands", "{}");
    assert_eq!(exchange.publish(deep()), ExchangeOutcome::Refused(0x87));
    // Its PUBACK is later than what the refusal reports.
    assert_eq!(exchange.publish(command()), ExchangeOutcome::Accepted);
    assert_eq!(exchange.trouble(), None);
    fs::write(broker.dir().path().join("acl"), RULES).unwrap();
    broker.signal("HUP");
    assert_eq!(exchange.publish(deep()), ExchangeOutcome::Refused(0x87));
    exchange.wait_for_trouble(&["`topic write tenant/+/device/+/response/#`"]);
    assert_eq!((exchange.reconnects(), exchange.is_connected()), (0, true));
}

#[test]
fn without_an_api_only_a_refused_message_is_named() {
    let broker = broker(&RULES.replace("topic write tenant/+/device/+/commands\n", ""));
    let exchange = ExchangeHarness::start(&as_sluice(broker.port()), idle());
    let desired = message("tenant/acme/device/p1/shadow/desired", "{}").retained();
    assert_eq!(exchange.publish(desired), ExchangeOutcome::Accepted);
    exchange.wait_until_well();
    let command = message("tenant/acme/device/p1/commands", "{}");
    assert_eq!(exchange.publish(command), ExchangeOutcome::Refused(0x87));
    exchange.wait_for_trouble(&["`topic write tenant/+/device/+/commands`"]);
    assert_eq!(exchange.reconnects(), 0);
}

#[test]
fn a_refused_subscription_is_named_and_requested_again_on_the_same_connection() {
    let peer = Peer::listen();
    let mut wanted = of_devices();
    (wanted.marker, wanted.writes) = (None, Vec::new());
    wanted.requests.push("symphony/request/+".to_owned());
    let exchange = ExchangeHarness::start(&as_sluice(peer.port()), wanted);
    let mut caller = peer.accept();
    caller.answer_connect(&[0, 0, 0]);
    for expected in [2, 3] {
        assert_eq!(caller.expect(0x82)[..2], [0, expected]);
    }
    caller.send(&packet(0x90, &[0, 2, 0, 1]));
    caller.send(&packet(0x90, &[0, 3, 0, 0x87]));
    let trouble = exchange.wait_for_trouble(&["`topic read symphony/request/+`"]);
    assert!(!trouble.contains("tenant/"), "{trouble}");
    assert_eq!(exchange.metrics.exchange.connection.connected.get(), 0);
    // Messages pass meanwhile.
    let outcome = exchange.send(message("a", "{}"));
    let publish = loop {
        let (first, body) = caller.packet();
        if first == 0x32 {
            break body;
        }
    };
    caller.send(&packet(0x40, &[publish[3], publish[4]]));
    assert_eq!(exchange.outcome(outcome), ExchangeOutcome::Accepted);
    loop {
        match caller.packet() {
            (0x82, body) => {
                assert_eq!(body[..2], [0, 3], "only the refused one");
                break;
            }
            (0xc0, _) => caller.send(&packet(0xd0, &[])),
            other => panic!("{other:?}"),
        }
    }
    caller.send(&packet(0x90, &[0, 3, 0, 1]));
    exchange.wait_until_well();
    assert_eq!(exchange.reconnects(), 0);
}
