//! The order of a device's messages: while the other broker refuses some of them, hangs up on them, or
//! the number of lanes changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};
use sluice::domain::forwarding::LinkRoutes;
use sluice::domain::ids::DeviceKey;

use super::limits::{lying, packets};
use super::reader::Reader;
use super::rig::Peer;
use super::sender::{WAITING, link, linked, publish};
use crate::support::device::{Device, Message};
use crate::support::mosquitto::{Mosquitto, MosquittoOptions};
use crate::support::proxy::Proxy;
use crate::support::wait;

/// The numbers that a broker was sent of a topic, in the order of their last appearances.
fn last_appearances(cloud: &Peer, topic: &str) -> Vec<u64> {
    let sent = packets(cloud, "publish");
    let of_topic = sent.iter().filter(|packet| packet["topic"] == json!(topic));
    let mut last = BTreeMap::new();
    for (place, packet) in of_topic.enumerate() {
        let body: Value = serde_json::from_str(packet["payload"].as_str().unwrap()).unwrap();
        last.insert(body["seq"].as_u64().unwrap(), place);
    }
    let mut numbers: Vec<(usize, u64)> = last.into_iter().map(|(n, place)| (place, n)).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|(_, number)| number).collect()
}

/// How often a payload with this text was sent.
fn times(cloud: &Peer, text: &str) -> usize {
    let sent = packets(cloud, "publish");
    sent.iter().filter(|packet| packet["payload"].as_str().unwrap().contains(text)).count()
}

#[test]
fn a_message_that_is_refused_among_many_in_flight_is_sent_again_before_those_behind_it() {
    // 0x97 once for one device, 0x87 once for the other. All messages are in flight at that time.
    let once = json!({ "\"seq\":3,": 0x97, "\"seq\":1005,": 0x87 });
    let (cloud, port) = lying(&json!({ "refuse_once": once, "delay": 300 }));
    let relay = Proxy::to(port);
    relay.refuse();
    let it = linked(&link("away", relay.port(), ""), &["timed-1", "timed-2"]);
    publish(&it, "timed-1", 0, 20);
    publish(&it, "timed-2", 1000, 1020);
    it.database.wait_until(WAITING, "40");
    relay.allow();
    it.database.wait_until(WAITING, "0");
    for sent_twice in [3, 15, 1005, 1015] {
        assert_eq!(times(&cloud, &format!("\"seq\":{sent_twice},")), 2, "{sent_twice}");
    }
    assert!(times(&cloud, "\"seq\":1,") == 1 && times(&cloud, "\"seq\":1001,") == 1);
    assert_eq!(last_appearances(&cloud, "up/timed-1"), (0..20).collect::<Vec<u64>>());
    assert_eq!(last_appearances(&cloud, "up/timed-2"), (1000..1020).collect::<Vec<u64>>());
    assert_eq!(it.database.value("SELECT count(*) FROM link_refused"), "0");
}

#[test]
fn a_device_on_whose_messages_the_other_broker_hangs_up_does_not_stall_the_others() {
    const BAD: [&str; 5] = ["a", "b", "c", "d", "e"];
    let (_cloud, port) = lying(&json!({ "close_on": "\"bad\"" }));
    let file = link("away", port, "refuse_after = \"1h\"")
        .replace("telemetry\", to = \"up/{device}\"", "#\", to = \"up/{device}/{type}\"");
    let it = linked(&file, &["timed-1", "timed-2"]);
    let bad = |kind| {
        let topic = format!("tenant/acme/device/timed-1/telemetry/{kind}");
        Message::new(topic, r#"{"seq":1,"metrics":{"bad":1}}"#)
    };
    Device::connect(it.broker.port(), "timed-1").publish_all(&BAD.map(bad));
    publish(&it, "timed-2", 0, 5);
    // Three are dead letters, the topics of the others wait, and the other device is served.
    it.daemon.wait_metric("sluice_link_published_total{link=\"away\"}", 5.0);
    let dead = "SELECT count(*) FROM link_refused WHERE reason = 'CLOSES_CONNECTION'";
    assert_eq!(it.database.value(dead), "3");
    // What was acknowledged leaves the outbox a moment later.
    it.database.wait_until(WAITING, "2");
    let detail = "SELECT detail LIKE '%ends the connection on messages%' FROM link_status";
    it.database.wait_until(detail, "t");
    assert_eq!((it.database.value(dead), it.database.value(WAITING)), ("3".into(), "2".into()));
}

#[test]
fn rows_that_commit_late_into_a_lane_of_earlier_settings_keep_the_order_of_their_devices() {
    const DEVICES: usize = 20;
    let cloud = Mosquitto::start(MosquittoOptions::default());
    let reader = Reader::start(cloud.port(), "reader");
    wait::until("the reader has subscribed", || cloud.log().contains("Sending SUBACK to reader"));
    let it = linked(&link("away", cloud.port(), "lanes = 1"), &["timed-1"]);
    publish(&it, "timed-1", 0, 20);
    reader.wait(20);
    let path = it.settings.dir().path().join("links.toml");
    fs::write(&path, link("away", cloud.port(), "lanes = 4")).unwrap();
    it.daemon.signal("HUP");
    it.daemon.wait_metric("sluice_link_up{lane=\"3\",link=\"away\"}", 1.0);
    // Batches that were prepared before the change, and newer ones behind them.
    let routes = LinkRoutes {
        link: "away".parse().unwrap(),
        lanes: 4,
        backlog_max_bytes: 1 << 20,
        rules: Vec::new(),
    };
    for first in [0, 10] {
        let mut values = String::new();
        for number in first..first + 10 {
            for device in 0..DEVICES {
                let key = DeviceKey::new("acme", &format!("d{device}")).unwrap();
                let lane = if number < first + 5 { 0 } else { routes.lane_of(&key) };
                write!(
                    values,
                    "({number}, {device}, {lane}){}",
                    if number == first + 9 && device == DEVICES - 1 { "" } else { "," }
                )
                .unwrap();
            }
        }
        it.database.query(&format!(
            "INSERT INTO link_outbox (link, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at, message_id) \
             SELECT 'away', lane, 'acme', 'd' || device, 'telemetry', 'up/d' || device, 'raw', \
                convert_to(format('{{\"seq\":%s}}', number), 'UTF8'), now(), now(), gen_random_uuid() \
             FROM (VALUES {values}) AS v (number, device, lane) ORDER BY number, device"
        ));
    }
    it.database.wait_until(WAITING, "0");
    let names: Vec<String> = (0..DEVICES).map(|device| format!("d{device}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    reader.assert_complete_and_in_order(&names, 20);
}
