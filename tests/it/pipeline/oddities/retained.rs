//! Retained messages: those from before the subscription never come, not even to a broker that has lost
//! the session; one that is published later is like any other.

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};
use crate::support::device::{Device, Fate};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::Proxy;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

const RETAINED: usize = 50;

#[test]
fn messages_retained_before_the_subscription_never_arrive_and_later_ones_arrive_once() {
    let broker = Mosquitto::start(MosquittoOptions::default());
    let messages: Vec<_> = (0..RETAINED)
        .map(|number| to(&format!("acme/device/p1/kept{number}"), "{}").retained())
        .collect();
    let fates = Device::connect(broker.port(), "early").publish_all(&messages);
    assert!(fates.iter().all(|fate| *fate == Fate::Accepted));
    let proxy = Proxy::to(broker.port());
    let port = proxy.port().to_string();
    let mut pipeline = Pipeline::beside(broker, &[TRUSTING[0], ("MQTT_PORT", &port)], REGISTRY);
    pipeline.send(&[to("acme/device/p1/live", "{}").retained()]);
    pipeline.settle();
    // Each reconnect subscribes again.
    for reconnects in [1.0, 2.0] {
        proxy.cut();
        pipeline.daemon.wait_metric("sluice_mqtt_reconnects_total", reconnects);
        pipeline.daemon.wait_ready();
        pipeline.publish("acme/device/p1/after", "{}");
        pipeline.settle();
    }
    pipeline.broker.stop();
    pipeline.daemon.wait_unready();
    pipeline.broker.start_again();
    pipeline.daemon.wait_ready();
    pipeline.device.reconnect().unwrap();
    pipeline.publish("acme/device/p1/after", "{}");
    pipeline.settle();
    let rows = "SELECT left(msg_type, 4), count(*) || ' ' || count(DISTINCT msg_type) FROM telemetry GROUP BY 1";
    assert_same(&pipeline.pairs(rows), &sorted([("live", "1 1"), ("afte", "3 1")]));
    assert_eq!(pipeline.refusals(), []);
}

#[test]
fn an_empty_message_that_clears_a_retained_one_is_refused_once() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    pipeline.send(&[
        to("acme/device/p1/status", "{}").retained(),
        to("acme/device/p1/status", "").retained(),
    ]);
    pipeline.settle();
    assert_same(
        &pipeline.pairs("SELECT msg_type, reason FROM quarantine_events"),
        &sorted([("status", "BAD_PAYLOAD")]),
    );
    assert_eq!(pipeline.ended("stored"), 1);
    pipeline.assert_unharmed();
}
