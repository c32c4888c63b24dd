//! Limits, counted on the wire by a broker that is not ours: what it says in CONNACK, and what the
//! kinds of links know in advance.

use serde_json::{Value, json};

use super::linked::{forwards, linked, mqtt_link, publish};
use super::rig::Peer;
use crate::support::device::Device;
use crate::support::wait;

/// A scripted broker, and its port.
pub fn lying(wish: &Value) -> (Peer, u16) {
    let mut peer = Peer::start("lying_broker.js", &[&wish.to_string()]);
    let port = peer.wait_json(1)[0]["port"].as_u64().unwrap();
    (peer, u16::try_from(port).unwrap())
}

/// The packets of a kind that it has received.
pub fn packets(peer: &Peer, cmd: &str) -> Vec<Value> {
    peer.json().into_iter().filter(|packet| packet["cmd"] == json!(cmd)).collect()
}

pub fn wait_for_packets(peer: &Peer, cmd: &str, count: usize) -> Vec<Value> {
    wait::for_ok(&format!("{count} packets {cmd}"), || {
        let found = packets(peer, cmd);
        if found.len() >= count { Ok(found) } else { Err(format!("{} so far", found.len())) }
    })
}

#[test]
fn what_connack_allows_is_kept_to_and_a_larger_message_harms_only_itself() {
    let connack = json!({ "receiveMaximum": 2, "maximumPacketSize": 1024, "serverKeepAlive": 5 });
    let (broker, port) = lying(&json!({ "connack": connack, "delay": 20 }));
    let it = linked(&mqtt_link("cloud", port, &forwards("binary")));
    let mut device = Device::connect(it.broker.port(), "d0");
    publish(&mut device, "d0", 0..10);
    let large = json!({ "seq": 10, "metrics": { "t": 1 }, "note": "x".repeat(2000) });
    device.publish("tenant/acme/device/d0/telemetry", large.to_string());
    publish(&mut device, "d0", 11..40);
    let sent = wait_for_packets(&broker, "publish", 39);
    it.database.wait_until("SELECT count(*) FROM link_outbox", "0");
    it.database.wait_until("SELECT string_agg(reason, ' ') FROM link_refused", "TOO_LARGE");
    assert_eq!(sent.iter().filter_map(|packet| packet["inflight"].as_u64()).max(), Some(2));
    for packet in packets(&broker, "publish") {
        assert!(packet["size"].as_u64().unwrap() < 1024 && packet["qos"] == json!(1), "{packet}");
    }
    // Without traffic it pings in time for a broker that expects a packet within five seconds.
    let last = sent.last().unwrap()["at"].as_u64().unwrap();
    let ping = &wait_for_packets(&broker, "pingreq", 1)[0];
    assert!(ping["at"].as_u64().unwrap() - last <= 7000, "{ping} after {last}");
    let connects = packets(&broker, "connect");
    assert_eq!(connects.len(), 1, "{connects:?}");
}

#[test]
fn a_broker_without_qos_1_gets_no_message_and_the_reason_is_named() {
    let (broker, port) = lying(&json!({ "connack": { "maximumQoS": 0 } }));
    let it = linked(&mqtt_link("cloud", port, &forwards("binary")));
    let mut device = Device::connect(it.broker.port(), "d0");
    publish(&mut device, "d0", 0..3);
    it.daemon.wait_metric("sluice_link_state{link=\"cloud\",state=\"refused\"}", 1.0);
    wait::until("the log names it", || it.daemon.log().contains("QoS"));
    assert_eq!(packets(&broker, "publish"), Vec::<Value>::new());
    assert_eq!(it.database.value("SELECT count(*) FROM link_outbox"), "3");
}

#[test]
fn the_limits_of_aws_hold_without_a_word_of_the_broker() {
    let (broker, port) = lying(&json!({}));
    let rule = |n| format!("{{ filter = \"in/{n}/+\", tenant = \"acme\", device = \"{{3}}\" }},\n");
    let rules = (0..20).map(rule).collect::<Vec<_>>().concat();
    let more = format!(
        "auth = \"none\"\npublish = [\n\
         {{ from = \"tenant/+/device/+/telemetry\", to = \"out/{{device}}\" }},\n\
         {{ from = \"tenant/+/device/+/telemetry/#\", to = \"out/{{device}}/{{type}}\" }},\n]\n\
         ingest = [\n{rules}]\n"
    );
    let links = mqtt_link("aws", port, &more).replace("\"mqtt\"", "\"aws-iot\"");
    let it = linked(&links);
    let mut device = Device::connect(it.broker.port(), "d0");
    let body = |note: usize| json!({ "metrics": { "t": 1 }, "note": "x".repeat(note) }).to_string();
    // Nine levels, and 200 KiB: the broker would end the connection.
    device.publish("tenant/acme/device/d0/telemetry/a/b/c/d/e/f", body(1));
    device.publish("tenant/acme/device/d1/telemetry", body(200 * 1024));
    publish(&mut device, "d2", 0..400);
    let sent = wait_for_packets(&broker, "publish", 400);
    it.database.wait_until(
        "SELECT string_agg(reason, ' ' ORDER BY reason) FROM link_refused",
        "BAD_TOPIC TOO_LARGE",
    );
    assert!(sent.iter().all(|packet| packet["topic"] == json!("out/d2")), "only these are sent");
    let at: Vec<u64> = sent.iter().filter_map(|packet| packet["at"].as_u64()).collect();
    // At most a hundred a second; a busy machine may see the first ones late.
    let span = at.last().unwrap() - at.first().unwrap();
    assert!(span >= 2500, "400 messages in {span} ms");
    let subscribed = packets(&broker, "subscribe");
    let filters = subscribed.iter().map(|packet| packet["filters"].as_array().unwrap().len());
    let filters: Vec<usize> = filters.collect();
    assert!(
        filters.iter().all(|count| *count <= 8) && filters.iter().sum::<usize>() == 20,
        "{filters:?}"
    );
}
