//! CloudEvents: what goes out is judged by packages of npm and `PyPI`, and what they make comes in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cloud::CloudBroker;
use super::linked::{judge, linked, mqtt_link, property};
use super::rig::{Peer, run_peer};
use crate::support::device::Device;
use crate::support::dir::Scratch;

/// Rules for two directions on topics that do not meet.
const BOTH: &str = "publish = [\n\
    { from = \"tenant/+/device/+/telemetry\", to = \"devices/out/{device}/binary\", mode = \"binary\" },\n\
    { from = \"tenant/+/device/+/event\", to = \"devices/out/{device}/structured\", mode = \"structured\" },\n\
    { from = \"tenant/+/device/+/status\", to = \"devices/out/{device}/raw\", mode = \"raw\" },\n]\n\
    ingest = [{ filter = \"in/+/events\", tenant = \"acme\", device = \"{2}\" }]\n";

pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// Publishes these messages at the cloud with paho; every one is acknowledged.
pub fn publish(port: u16, messages: &Value) {
    let dir = Scratch::new("messages");
    let file = dir.write("messages.json", messages.to_string());
    let wish = json!({ "port": port }).to_string();
    let printed = run_peer("publish.py", &[&wish, file.to_str().unwrap()]);
    let codes: Vec<Option<u8>> = serde_json::from_str(&printed).unwrap();
    assert_eq!(codes.len(), messages.as_array().unwrap().len());
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 0x10))), "{codes:?}");
}

fn text_of(message: &Value) -> Vec<u8> {
    STANDARD.decode(message["payload"].as_str().unwrap()).unwrap()
}

#[test]
fn what_goes_out_is_an_event_to_two_judges() {
    let cloud = CloudBroker::open();
    let mut judge = judge(cloud.broker.port());
    let it =
        linked(&format!("node = \"north\"\n{}", mqtt_link("cloud", cloud.broker.port(), BOTH)));
    let mut device = Device::connect(it.broker.port(), "d0");
    // White space and the order of the keys survive in mode binary.
    let payload = "{ \"ts\" : 1795500000.25,\n  \"seq\": 7, \"metrics\":{\"t\":21.50,\"a\":1} }"
        .replace("1795500000.25", &format!("{}.25", now()));
    for msg_type in ["telemetry", "event", "status"] {
        device.publish(&format!("tenant/acme/device/d0/{msg_type}"), &payload);
    }
    let messages: Vec<Value> =
        judge.wait_json(4).into_iter().filter(|line| line.get("topic").is_some()).collect();
    let of = |mode: &str| {
        let topic = format!("devices/out/d0/{mode}");
        messages.iter().find(|message| message["topic"] == json!(topic)).unwrap()
    };
    let (binary, structured, raw) = (of("binary"), of("structured"), of("raw"));
    assert_eq!(text_of(binary), payload.as_bytes());
    assert_eq!(text_of(raw), payload.as_bytes());
    assert_eq!(binary["content_type"], json!("application/json"));
    assert!(
        structured["content_type"].as_str().unwrap().starts_with("application/cloudevents+json")
    );
    assert_eq!(property(raw, "specversion"), "");
    for (message, msg_type) in [(binary, "telemetry"), (structured, "event")] {
        let event = &message["event"];
        assert!(event.is_object(), "npm cloudevents refuses {message}");
        let row = &it.database.json(&format!(
            "SELECT message_id, to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS time \
             FROM telemetry WHERE msg_type = '{msg_type}'"
        ))[0];
        assert_eq!(event["id"], row["message_id"]);
        assert_eq!(event["time"], row["time"]);
        assert_eq!(event["source"], json!("/sluice/north/acme/d0"));
        assert_eq!(event["type"], json!(format!("io.sluice.telemetry.{msg_type}")));
        assert_eq!(event["subject"], json!(format!("tenant/acme/device/d0/{msg_type}")));
        assert_eq!(event["sluicenode"], json!("north"));
        assert_eq!(event["sequence"].as_str().unwrap().len(), 20);
    }
    assert_eq!(structured["event"]["data"], serde_json::from_str::<Value>(&payload).unwrap());
    let beside = structured["properties"].as_object().unwrap().keys();
    assert!(beside.into_iter().all(|name| name == "sluicenode"), "attributes are in the payload");
    let dir = Scratch::new("bodies");
    let file = dir.write("bodies.json", json!([structured["payload"]]).to_string());
    let read: Value =
        serde_json::from_str(&run_peer("read_event.py", &[file.to_str().unwrap()])).unwrap();
    assert_eq!(read[0]["attributes"]["id"], structured["event"]["id"], "{read}");
    assert_eq!(read[0]["data"]["metrics"], json!({ "t": 21.5, "a": 1 }), "{read}");
}

#[test]
fn what_two_makers_publish_becomes_rows_and_an_event_twice_is_one() {
    let cloud = CloudBroker::open();
    let mut relay =
        Peer::start("packet_relay.js", &[&json!({ "to": cloud.broker.port() }).to_string()]);
    let port = u16::try_from(relay.wait_json(1)[0]["port"].as_u64().unwrap()).unwrap();
    let it = linked(&mqtt_link("cloud", port, BOTH));
    it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
    let event = |id: &str| {
        json!({ "id": id, "source": "/plant", "type": "reading", "time": stamp(),
                "data": { "metrics": { "t": 20.5 } } })
    };
    let wishes = json!([
        { "mode": "binary", "topic": "in/d1/events", "event": event("1") },
        { "mode": "structured", "topic": "in/d1/events", "event": event("2") },
        { "mode": "binary", "topic": "in/d2/events", "event": event("1") },
    ]);
    let made: Value =
        serde_json::from_str(&run_peer("events_maker.js", &[&wishes.to_string()])).unwrap();
    publish(cloud.broker.port(), &made);
    publish(cloud.broker.port(), &made);
    // A message after them: when it is stored, all before it are decided.
    publish(cloud.broker.port(), &json!([plain("in/d3/events", "{\"metrics\":{\"t\":1}}")]));
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE device_id = 'd3'", "1");
    let rows = "SELECT string_agg(device_id || ' ' || n, ' ' ORDER BY device_id) FROM \
                (SELECT device_id, count(*) AS n FROM telemetry WHERE link = 'cloud' GROUP BY 1) q";
    assert_eq!(it.database.value(rows), "d1 2 d2 1 d3 1");
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "0");
    assert_eq!(
        it.database.value("SELECT metrics->>'t' FROM telemetry WHERE device_id = 'd2'"),
        "20.5"
    );
    // Event Grid fails a request with user properties on any packet but PUBLISH.
    for packet in relay.json().iter().filter(|packet| packet["from"] == json!("client")) {
        let with_properties = packet.get("user_properties").is_some();
        assert!(!with_properties || packet["cmd"] == json!("publish"), "{packet}");
    }
    // What came from the link does not go back to it.
    assert!(it.daemon.metric("sluice_link_published_total{link=\"cloud\"}") < 1.0);
}

#[test]
fn a_broken_event_is_quarantined_and_its_attribute_is_named() {
    let cloud = CloudBroker::open();
    let it = linked(&mqtt_link("cloud", cloud.broker.port(), BOTH));
    it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
    let good = [("specversion", "1.0"), ("id", "1"), ("source", "/plant"), ("type", "reading")];
    let binary = |leave_out: &str, add: &[(&str, &str)]| {
        let kept = good.iter().filter(|(name, _)| *name != leave_out).chain(add);
        let properties: Vec<Value> = kept.map(|(name, value)| json!([name, value])).collect();
        json!({ "topic": "in/d1/events", "content_type": "application/json", "properties": properties,
                "payload": base64("{\"metrics\":{\"t\":1}}") })
    };
    let structured = |body: &Value, content_type: &str| json!({ "topic": "in/d1/events", "content_type": content_type, "payload": base64(&body.to_string()) });
    let body = json!({ "specversion": "1.0", "id": "1", "source": "/plant", "type": "reading",
                       "data": { "metrics": { "t": 1 } } });
    let with = |name: &str, value: Value| {
        let mut changed = body.clone();
        changed[name] = value;
        structured(&changed, "application/cloudevents+json")
    };
    let broken = [
        (binary("id", &[]), "id"),
        (binary("", &[("Bad_Ext", "x")]), "Bad_Ext"),
        (binary("specversion", &[("specversion", "2.0")]), "specversion"),
        (binary("", &[("time", "yesterday")]), "time"),
        (with("data_base64", json!("e30=")), "data_base64"),
        (with("data", json!("text")), "data"),
        (with("Bad_Ext", json!("x")), "Bad_Ext"),
        (structured(&json!([body]), "application/cloudevents-batch+json"), "batch"),
    ];
    for (number, (message, attribute)) in broken.iter().enumerate() {
        publish(cloud.broker.port(), &json!([message]));
        it.database.wait_until("SELECT count(*) FROM quarantine_events", &(number + 1).to_string());
        let event = &it.database.json(
            "SELECT reason, detail, link FROM quarantine_events ORDER BY received_at DESC LIMIT 1",
        )[0];
        assert_eq!(
            (&event["reason"], &event["link"]),
            (&json!("BAD_PAYLOAD"), &json!("cloud")),
            "{message}"
        );
        assert!(event["detail"].as_str().unwrap().contains(attribute), "{attribute}: {event}");
    }
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "0");
}

/// A message that is no event.
fn plain(topic: &str, payload: &str) -> Value {
    json!({ "topic": topic, "payload": base64(payload) })
}

fn now() -> i64 {
    sluice::clock::now().micros() / 1_000_000
}

/// The time now, as RFC 3339.
fn stamp() -> String {
    sluice::clock::now().to_utc().to_rfc3339()
}
