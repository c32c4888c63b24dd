//! How connections end and begin again: flapping, another client with the same id, a lost session, a
//! broker that lies about its limits, a connection that is old, and cuts while it begins.

use std::fmt::Write as _;

use serde_json::json;

use super::limits::{lying, packets, wait_for_packets};
use super::reader::Reader;
use super::sender::{WAITING, link, linked, publish};
use crate::faults::load::Load;
use crate::support::device::Device;
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait;

#[test]
fn flapping_and_another_client_with_the_same_id_are_named_and_lose_no_message() {
    let end = json!({ "after": "connect" });
    let (flapping, flapping_port) = lying(&json!({ "early": [end, end, end, end] }));
    let taken = json!({ "early": [{ "after": "publish", "code": 0x8e }] });
    let (taken, taken_port) = lying(&taken);
    let file = link("flaps", flapping_port, "") + &link("taken", taken_port, "");
    let it = linked(&file, &["timed-1"]);
    it.daemon.wait_metric("sluice_link_state{link=\"flaps\",state=\"flapping\"}", 1.0);
    publish(&it, "timed-1", 0, 5);
    it.daemon.wait_metric("sluice_link_state{link=\"taken\",state=\"refused\"}", 1.0);
    let detail = |link: &str, words: &str| {
        let holds =
            format!("SELECT detail LIKE '%{words}%' FROM link_status WHERE link = '{link}'");
        it.database.wait_until(&holds, "t");
    };
    detail("flaps", "within 5 s of CONNACK");
    detail("taken", "client id");
    assert_eq!((it.database.value(WAITING), packets(&flapping, "connect").len()), ("10".into(), 3));
    // Both wait for half a minute now; a start does not.
    assert_eq!(it.daemon.terminate(), 0);
    it.daemon.start_again();
    // The fourth end is the last one.
    it.database.wait_until(WAITING, "0");
    assert_eq!(it.database.value("SELECT count(*) FROM link_refused"), "0");
    let sent = packets(&taken, "publish");
    let again = sent.iter().filter(|packet| packet["connection"] == json!(2));
    assert_eq!(again.count(), 5, "what was in flight is sent again: {sent:?}");
}

#[test]
fn after_a_lost_session_sluice_subscribes_and_sends_again() {
    let (cloud, port) = lying(&json!({ "early": [{ "after": "publish" }] }));
    let more = "ingest = [{ filter = \"in/+\", tenant = \"acme\", device = \"{2}\" }]";
    let it = linked(&link("away", port, more), &["timed-1"]);
    wait_for_packets(&cloud, "subscribe", 1);
    publish(&it, "timed-1", 0, 10);
    it.daemon.wait_metric("sluice_link_published_total{link=\"away\"}", 10.0);
    it.database.wait_until(WAITING, "0");
    it.daemon.wait_metric("sluice_link_sessions_lost_total{link=\"away\"}", 1.0);
    let subscribed = wait_for_packets(&cloud, "subscribe", 2);
    assert_eq!(subscribed[1]["connection"], json!(2));
    assert_eq!(subscribed[1]["filters"], json!(["in/+"]));
    let sent = packets(&cloud, "publish");
    let mut again: Vec<_> = sent.iter().filter(|packet| packet["connection"] == json!(2)).collect();
    assert_eq!(again.len(), 10, "{sent:?}");
    again.sort_by_key(|packet| packet["at"].as_u64());
    let numbers = again.iter().map(|packet| packet["payload"].as_str().unwrap().to_owned());
    let numbers: Vec<String> = numbers.collect();
    let expected = (0..10).map(|number| format!("\"seq\":{number},"));
    assert!(
        numbers.iter().zip(expected).all(|(body, number)| body.contains(&number)),
        "{numbers:?}"
    );
}

#[test]
fn a_broker_that_lies_about_its_limits_gets_every_message_all_the_same() {
    // It grants a window and a size, and hangs up far below them; it delivers by an alias that it never
    // set, which ends its first connection.
    let wish = json!({
        "connack": { "receiveMaximum": 1000, "maximumPacketSize": 100_000, "topicAliasMaximum": 10 },
        "most": 5, "delay": 20, "close_on": "large",
        "deliver": [{ "topic": "", "payload": "{}", "properties": { "topicAlias": 7 } }], "deliver_to": 1,
    });
    let (cloud, port) = lying(&wish);
    let more = "ingest = [{ filter = \"in/+\", tenant = \"acme\", device = \"{2}\" }]";
    let it = linked(&link("away", port, more), &["timed-1", "timed-2"]);
    wait_for_packets(&cloud, "disconnect", 1);
    publish(&it, "timed-1", 0, 6);
    let large = json!({ "seq": 12, "metrics": { "a": 1 }, "note": "large" }).to_string();
    Device::connect(it.broker.port(), "timed-2")
        .publish("tenant/acme/device/timed-2/telemetry", large);
    publish(&it, "timed-1", 6, 8);
    it.database.wait_until(WAITING, "0");
    it.database.wait_until("SELECT string_agg(reason, ' ') FROM link_refused", "CLOSES_CONNECTION");
    it.daemon.wait_metric("sluice_link_published_total{link=\"away\"}", 8.0);
    let packets = packets(&cloud, "disconnect");
    assert_eq!(packets[0]["reasonCode"], json!(0x94), "the alias: {packets:?}");
}

#[test]
fn an_old_connection_is_replaced_when_nothing_is_in_flight() {
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let it = linked(&link("away", cloud.port(), "replace_after = \"5s\""), &["timed-1"]);
    let load = Load::start(&it.broker, &it.database, &["timed-1"]);
    let connects = || cloud.log().matches("as gate-away").count();
    let mut granted = 0;
    wait::until("two connections were replaced", || {
        granted = load.grant(10);
        load.wait_accepted(granted);
        std::thread::sleep(std::time::Duration::from_millis(100));
        connects() >= 3
    });
    load.finish();
    it.database.wait_until(WAITING, "0");
    reader.assert_complete_and_in_order(&["timed-1"], granted);
    assert_eq!(reader.all().len() as u64, granted, "each arrives once");
    wait::until("each end but the last was one of Sluice", || {
        cloud.log().matches("Received DISCONNECT from gate-away").count() + 1 == connects()
    });
    let series = "sluice_link_connects_total{link=\"away\",outcome=\"failed\"}";
    assert!(it.daemon.metric(series) < 1.0);
}

#[test]
fn a_link_that_is_cut_at_any_byte_of_its_beginning_works_again() {
    /// What a connection begins with: CONNECT and SUBSCRIBE one way, CONNACK and SUBACK the other.
    const CUTS: [(Direction, u64); 12] = [
        (Direction::ToServer, 0),
        (Direction::ToServer, 1),
        (Direction::ToServer, 9),
        (Direction::ToServer, 30),
        (Direction::ToServer, 50),
        (Direction::ToServer, 60),
        (Direction::ToClient, 0),
        (Direction::ToClient, 1),
        (Direction::ToClient, 4),
        (Direction::ToClient, 9),
        (Direction::ToClient, 14),
        (Direction::ToClient, 17),
    ];
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let relays: Vec<Proxy> = CUTS.iter().map(|_| Proxy::to(cloud.port())).collect();
    let mut file = String::new();
    for (number, relay) in relays.iter().enumerate() {
        let more = "ingest = [{ filter = \"in/+\", tenant = \"acme\", device = \"{2}\" }]";
        let text = link(&format!("l{number}"), relay.port(), more);
        write!(file, "{}", text.replace("up/{device}", &format!("up/l{number}"))).unwrap();
    }
    for (relay, (direction, bytes)) in relays.iter().zip(CUTS) {
        relay.cut_after(direction, bytes);
    }
    let it = linked(&file, &["timed-1"]);
    publish(&it, "timed-1", 0, 5);
    it.database.wait_until(WAITING, "0");
    let names: Vec<String> = (0..CUTS.len()).map(|number| format!("l{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    reader.assert_complete_and_in_order(&names, 5);
    for (name, (direction, bytes)) in names.iter().zip(CUTS) {
        let connects = |outcome: &str| {
            let labels = format!("link=\"{name}\",outcome=\"{outcome}\"");
            it.daemon.metric(&format!("sluice_link_connects_total{{{labels}}}"))
        };
        let all = connects("connected") + connects("failed");
        assert!(all >= 2.0, "{name} was not cut, {direction:?} at {bytes}: {all}");
    }
    for name in names {
        it.daemon.wait_metric(&format!("sluice_link_up{{lane=\"0\",link=\"{name}\"}}"), 1.0);
    }
}
