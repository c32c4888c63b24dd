//! Retained messages: they come when the subscription is new, once, and never again with a
//! reconnect.

use crate::pipeline::rules::stage::{Stage, TRUSTING, assert_same, sorted, to};
use crate::support::device::{Device, Fate};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::Proxy;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

const RETAINED: usize = 50;

#[test]
fn retained_messages_come_with_the_first_subscription_and_not_with_each_reconnect() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let messages: Vec<_> = (0..RETAINED)
        .map(|number| to(&format!("acme/device/p1/kept{number}"), "{}").retained())
        .collect();
    let fates = Device::connect(broker.port(), "early").publish_all(&messages);
    assert!(fates.iter().all(|fate| *fate == Fate::Accepted));
    let proxy = Proxy::to(broker.port());
    let port = proxy.port().to_string();
    let mut stage = Stage::beside(broker, &[TRUSTING[0], ("MQTT_PORT", &port)], REGISTRY);
    stage.expect(RETAINED);
    stage.settle();
    // Each reconnect subscribes again; the session was there, so the subscription is not new.
    for reconnects in [1.0, 2.0] {
        proxy.cut();
        stage.daemon.wait_metric("sluice_mqtt_reconnects_total", reconnects);
        stage.daemon.wait_ready();
        stage.publish("acme/device/p1/after", "{}");
        stage.settle();
    }
    stage.broker.stop();
    stage.daemon.wait_unready();
    stage.broker.start_again();
    stage.daemon.wait_ready();
    stage.device.reconnect().unwrap();
    stage.publish("acme/device/p1/after", "{}");
    stage.settle();
    let rows = "SELECT left(msg_type, 4), count(*) || ' ' || count(DISTINCT msg_type) FROM telemetry GROUP BY 1";
    assert_same(&stage.pairs(rows), &sorted([("kept", "50 50"), ("afte", "3 1")]));
    assert_eq!(stage.refusals(), []);
}

#[test]
fn a_message_that_takes_back_a_retained_one_is_refused_for_being_empty_and_comes_once() {
    let mut stage = Stage::new(&TRUSTING, REGISTRY);
    stage.send(&[
        to("acme/device/p1/status", "{}").retained(),
        to("acme/device/p1/status", "").retained(),
    ]);
    stage.settle();
    assert_same(
        &stage.pairs("SELECT msg_type, reason FROM quarantine_events"),
        &sorted([("status", "BAD_PAYLOAD")]),
    );
    assert_eq!(stage.ended("stored"), 1);
    stage.assert_unharmed();
}
