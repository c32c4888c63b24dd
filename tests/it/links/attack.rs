//! Messages that are made to harm, over a link and from a device with valid access: each harms only
//! itself, and no text of a payload gets into a detail.

use serde_json::{Value, json};

use super::cloud::CloudBroker;
use super::events::{base64, publish};
use super::linked::{judge, linked, mqtt_link, property};
use crate::support::device::Device;

const RULES: &str = "ingest = [{ filter = \"in/+/events\", tenant = \"acme\", device = \"{2}\" },\n\
    { filter = \"any/#\", tenant = \"{2}\", device = \"{3}\", type = \"{4}\" }]\n";

/// The longest detail that one message may cause, in bytes.
const LONGEST_DETAIL: usize = 700;

/// A message for device `d1` in structured mode: the four attributes, with these members besides.
fn structured(id: &str, more: &Value) -> Value {
    let mut event = json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "t" });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body(&event.to_string())
}

/// A body for device `d1` that says it is an event.
fn body(text: &str) -> Value {
    json!({ "topic": "in/d1/events", "content_type": "Application/CloudEvents+JSON; charset=utf-16",
            "payload": base64(text) })
}

/// A message for device `d2` in binary mode, with these User Properties besides the four.
fn binary(id: &str, more: &[(&str, &str)], payload: &str) -> Value {
    let four = [("specversion", "1.0"), ("id", id), ("source", "/s"), ("type", "t")];
    let properties: Vec<_> = four.iter().chain(more).collect();
    json!({ "topic": "in/d2/events", "properties": properties, "payload": base64(payload) })
}

/// A plain message.
fn plain(topic: &str, payload: &str) -> Value {
    json!({ "topic": topic, "payload": base64(payload) })
}

/// Each message and what becomes of it: a reason, `row`, or nothing.
fn hostile() -> Vec<(Value, &'static str)> {
    let secret = format!("\"secret\\u0000{}\"", "x".repeat(60_000));
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let of_d7 = [("source", "/sluice/n/acme/d7"), ("subject", "tenant/acme/device/d7/telemetry")];
    let forged =
        json!({ "source": of_d7[0].1, "subject": of_d7[1].1, "data": { "device_id": "d7" } });
    let members: Value = (0..300).map(|n| (format!("a{n}"), json!(1))).collect();
    vec![
        (body(&secret), "BAD_PAYLOAD"),
        (body(&deep), "BAD_PAYLOAD"),
        (structured("m", &members), "BAD_PAYLOAD"),
        (structured("y0", &json!({ "time": "0000-01-01T00:00:00Z" })), "BAD_PAYLOAD"),
        (structured("y9", &json!({ "time": "9999-12-31T23:59:59Z" })), "TIMESTAMP_OUT_OF_RANGE"),
        (structured("f", &forged), "DEVICE_MISMATCH_TOPIC_VS_PAYLOAD"),
        (structured("n\u{0}l", &json!({ "data": { "seq": 1 } })), "row"),
        (structured(&"i".repeat(60_000), &json!({ "data": { "seq": 2 } })), "row"),
        (binary("1", &[], "{\"seq\":3}"), "row"),
        // The same event with another payload.
        (binary("1", &[], "{\"seq\":4}"), ""),
        (binary("2", &[("sluicenode", "north")], "{\"seq\":5}"), ""),
        (binary("3", &[("sluicenode", "a,b,c,d,e,f,g,h,i")], "{\"seq\":6}"), "BAD_PAYLOAD"),
        (binary("4", &[("subject", of_d7[1].1), ("tenant", "x")], "{\"seq\":7}"), "row"),
        (binary("5", &[], "{\"metrics\":{\"s\":\"a\\u0000\"}}"), "STORE_REJECTED"),
        (plain("any/acme/d3/telemetry", "{\"seq\":8,\"provision_token\":\"wrong\"}"), "row"),
        (plain("any/other/d3/telemetry", "{\"seq\":9}"), "UNREGISTERED_DEVICE"),
        (plain("any/{3}/{2}/{4}", "{\"seq\":10}"), "BAD_TOPIC_FORMAT"),
        (plain("any/acme", "{\"seq\":11}"), "BAD_TOPIC_FORMAT"),
        (plain("any/acme/\u{202e}d/telemetry", "{\"seq\":12}"), "BAD_TOPIC_FORMAT"),
        (plain(&format!("any/acme/d3/{}", "y".repeat(60_000)), "{\"seq\":13}"), "BAD_TOPIC_FORMAT"),
        // What Sluice publishes itself.
        (plain("any/acme/d3/commands", "{\"seq\":14}"), ""),
    ]
}

#[test]
fn hostile_messages_of_another_broker_harm_only_themselves() {
    let cloud = CloudBroker::open();
    let port = cloud.broker.port();
    let it = linked(&format!("node = \"north\"\n{}", mqtt_link("cloud", port, RULES)));
    it.daemon.wait_metric("sluice_link_up{lane=\"0\",link=\"cloud\"}", 1.0);
    let hostile = hostile();
    let mut messages: Vec<&Value> = hostile.iter().map(|(message, _)| message).collect();
    // Behind them: when it is stored, all before it are decided.
    let last = plain("in/d9/events", "{\"seq\":99}");
    messages.push(&last);
    publish(port, &json!(messages));
    it.database.wait_until("SELECT count(*) FROM telemetry WHERE seq = 99", "1");
    let reasons = it.database.query("SELECT reason FROM quarantine_events ORDER BY received_at");
    let expected =
        hostile.iter().map(|(_, fate)| *fate).filter(|fate| !matches!(*fate, "" | "row"));
    assert_eq!(reasons.concat(), expected.collect::<Vec<_>>());
    let rows =
        "SELECT string_agg(device_id || ' ' || seq, ', ' ORDER BY received_at) FROM telemetry";
    assert_eq!(it.database.value(rows), "d1 1, d1 2, d2 3, d2 7, d3 8, d9 99");
    for detail in it.database.query("SELECT detail FROM quarantine_events").concat() {
        assert!(detail.len() <= LONGEST_DETAIL && !detail.contains("secret"), "{detail}");
    }
}

#[test]
fn what_a_device_makes_up_changes_no_attribute_of_its_event() {
    let cloud = CloudBroker::open();
    let mut judge = judge(cloud.broker.port());
    let rules = "publish = [{ from = \"tenant/+/device/+/telemetry/#\", to = \"devices/{type}/{device}\", mode = \"structured\" },\n\
        { from = \"tenant/+/device/+/+\", to = \"devices/{type}/{device}\", mode = \"binary\" }]\n";
    let it =
        linked(&format!("node = \"north\"\n{}", mqtt_link("cloud", cloud.broker.port(), rules)));
    let mut device = Device::connect(it.broker.port(), "devices");
    let forged = "{\"specversion\":\"0\",\"id\":\"x\",\"source\":\"/evil\",\"sluicenode\":\"other\",\
        \"provision\\u005ftoken\":\"hidden\",\"data\":{\"data\":1},\"metrics\":{\"specversion\":2}}";
    let types = ["telemetry", "event", "telemetry/__proto__", "telemetry/.."];
    for msg_type in types {
        device.publish(&format!("tenant/acme/device/d0/{msg_type}"), forged);
    }
    let printed = judge.wait_json(1 + types.len());
    let events = printed.iter().filter(|line| line.get("topic").is_some());
    for (message, msg_type) in events.zip(types) {
        assert_eq!(message["topic"], json!(format!("devices/{msg_type}/d0")));
        let event = &message["event"];
        assert!(event.is_object(), "npm cloudevents refuses {message}");
        assert_eq!(event["source"], json!("/sluice/north/acme/d0"));
        assert_eq!(event["sluicenode"], json!("north"));
        assert_eq!(event["subject"], json!(format!("tenant/acme/device/d0/{msg_type}")));
        assert_ne!(event["id"], json!("x"));
        assert!(!event.to_string().contains("hidden"), "{event}");
        assert_eq!(property(message, "id").is_empty(), msg_type.starts_with("telemetry"));
    }
}
