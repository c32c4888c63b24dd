//! Tables of events: what is written, what is read, and how each broken one is named.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fault::EventFault;
use super::nodes::NodesFault;
use super::read::{EventParts, read};
use super::write::{EncodedEvent, EventSource, write};
use crate::domain::link::{ForwardMode, event_identity};
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Timestamp;

const NOON: &str = "2026-02-03T12:00:00Z";
const NOON_MICROS: i64 = 1_770_120_000_000_000;

fn message(
    content_type: Option<&str>,
    properties: &[(&str, &str)],
    payload: &str,
) -> RemoteMessage {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    RemoteMessage {
        topic: Bytes::from_static(b"t"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        cut_from: None,
        content_type: content_type.map(str::to_owned),
        user_properties: properties.iter().map(own).collect(),
        correlation: None,
        expires_in: None,
        is_retained: false,
        dup: false,
        received_at: Timestamp::default(),
        ack: None,
    }
}

fn structured(event: &Value) -> Result<EventParts, EventFault> {
    read(&message(Some("application/cloudevents+json"), &[], &event.to_string()), false)
}

fn binary(properties: &[(&str, &str)]) -> Result<EventParts, EventFault> {
    read(&message(Some("application/json"), properties, r#"{"metrics":{"t":1}}"#), false)
}

/// An event with these changes; `null` removes a member.
fn event(changes: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"metrics": {"t": 1}},
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(event.as_object_mut().unwrap().remove(name)),
            value => event[name] = value.clone(),
        }
    }
    event
}

const BINARY: [(&str, &str); 4] =
    [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];

fn source(payload: &Bytes, mode: ForwardMode) -> EventSource<'_> {
    EventSource {
        sequence: 42,
        tenant: "acme",
        device: "pump-1",
        msg_type: "telemetry/engine",
        mode,
        payload,
        time: Timestamp::from_micros(NOON_MICROS),
        message_id: Uuid::from_u128(7),
        via: &[],
    }
}

fn property<'e>(event: &'e EncodedEvent, name: &str) -> Option<&'e str> {
    let found = event.user_properties.iter().find(|(property, _)| *property == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn binary_mode_keeps_the_payload_and_puts_the_attributes_into_user_properties() {
    let payload = Bytes::from_static(br#"{ "metrics" : {"t": 1.50} }"#);
    let event = write(&source(&payload, ForwardMode::Binary), "node-a");
    assert_eq!((&event.payload, event.content_type), (&payload, "application/json"));
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "00000000-0000-0000-0000-000000000007"),
        ("source", "/sluice/node-a/acme/pump-1"),
        ("type", "io.sluice.telemetry.telemetry/engine"),
        ("subject", "tenant/acme/device/pump-1/telemetry/engine"),
        ("time", "2026-02-03T12:00:00.000000Z"),
        ("sequence", "00000000000000000042"),
        ("sluicenode", "node-a"),
    ] {
        assert_eq!(property(&event, name), Some(value), "{name}");
    }
    assert_eq!(event.user_properties.len(), 8);
}

#[test]
fn structured_mode_embeds_json_as_it_came_and_other_bytes_as_base64() {
    let payload = Bytes::from_static(br#"{"metrics": {"t": 12345678901234567890.10}}"#);
    let event = write(&source(&payload, ForwardMode::Structured), "a");
    assert!(event.content_type.starts_with("application/cloudevents+json"));
    let text = std::str::from_utf8(&event.payload).unwrap();
    assert!(text.contains(r#""data":{"metrics": {"t": 12345678901234567890.10}}"#), "{text}");
    let body: Value = serde_json::from_str(text).unwrap();
    assert_eq!(body["id"], "00000000-0000-0000-0000-000000000007");
    assert_eq!(body["datacontenttype"], "application/json");
    let event = write(&source(&Bytes::from_static(b"\xff{"), ForwardMode::Structured), "a");
    let body: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!((&body["data_base64"], body.get("data")), (&json!("/3s="), None));
}

#[test]
fn raw_mode_has_the_payload_and_the_nodes_only() {
    let payload = Bytes::from_static(b"{}");
    let via = ["b".into(), "c".into()];
    let event = write(&EventSource { via: &via, ..source(&payload, ForwardMode::Raw) }, "a");
    assert_eq!(event.user_properties, [("sluicenode", "b,c,a".to_owned())]);
    assert_eq!(event.payload, payload);
}

#[test]
fn what_is_written_is_read_back() {
    for mode in [ForwardMode::Binary, ForwardMode::Structured] {
        let payload = Bytes::from_static(br#"{"metrics":{"t":1}}"#);
        let via = ["b".into()];
        let event = write(&EventSource { via: &via, ..source(&payload, mode) }, "a");
        let text = std::str::from_utf8(&event.payload).unwrap();
        let properties: Vec<(&str, &str)> =
            event.user_properties.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let read = read(&message(Some(event.content_type), &properties, text), false).unwrap();
        let identity =
            event_identity("/sluice/a/acme/pump-1", "00000000-0000-0000-0000-000000000007");
        assert_eq!(read.data, payload, "{mode:?}");
        assert_eq!(read.identity, Some(identity));
        assert_eq!(read.time, Some(Timestamp::from_micros(NOON_MICROS)));
        assert_eq!(read.via, ["b".into(), "a".into()] as [Box<str>; 2]);
    }
}

#[test]
fn both_modes_of_an_event_have_one_identity() {
    let one = structured(&event(&json!({"time": NOON}))).unwrap();
    let other =
        binary(&[&BINARY[..], &[("time", NOON), ("datacontenttype", "x")]].concat()).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.data, r#"{"metrics":{"t":1}}"#);
}

#[test]
fn the_content_type_is_compared_without_case_and_parameters() {
    let body = event(&json!({})).to_string();
    for content_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
        "application/cloudevents ;x",
    ] {
        let read = read(&message(Some(content_type), &[], &body), false);
        assert!(read.is_ok_and(|event| event.identity.is_some()), "{content_type}");
    }
    for (content_type, fault) in [
        ("application/cloudevents-batch+json", EventFault::Batch),
        ("application/CloudEvents-Batch+json; charset=utf-8", EventFault::Batch),
        ("application/cloudevents+avro", EventFault::Format),
        ("application/cloudeventsx", EventFault::Format),
    ] {
        assert_eq!(
            read(&message(Some(content_type), &[], &body), false),
            Err(fault),
            "{content_type}"
        );
    }
}

#[test]
fn each_broken_structured_event_is_named() {
    let name = |name: &str| name.to_owned();
    for (changes, fault) in [
        (json!({"id": null}), EventFault::Missing("id")),
        (json!({"id": ""}), EventFault::Empty("id")),
        (json!({"id": 7}), EventFault::NotText(name("id"))),
        (json!({"source": null}), EventFault::Missing("source")),
        (json!({"type": null}), EventFault::Missing("type")),
        (json!({"type": ""}), EventFault::Empty("type")),
        (json!({"specversion": null}), EventFault::Missing("specversion")),
        (json!({"specversion": "0.3"}), EventFault::Version),
        (json!({"specversion": 1.0}), EventFault::NotText(name("specversion"))),
        (json!({"Bad_Ext": "x"}), EventFault::Name(name("Bad_Ext"))),
        (json!({"ext": {"a": 1}}), EventFault::NotText(name("ext"))),
        (json!({"time": "yesterday"}), EventFault::Time),
        (json!({"time": "0000-12-31T23:59:59Z"}), EventFault::Time),
        (json!({"time": 5}), EventFault::NotText(name("time"))),
        (json!({"data_base64": "e30="}), EventFault::TwoData),
        (json!({"data": "text"}), EventFault::Data { member: "data", found: "a text" }),
        (json!({"data": [1]}), EventFault::Data { member: "data", found: "an array" }),
        (json!({"data": 5}), EventFault::Data { member: "data", found: "a number" }),
        (json!({"data": true}), EventFault::Data { member: "data", found: "a truth value" }),
        (
            json!({"data": null, "data_base64": "%%"}),
            EventFault::Data { member: "data_base64", found: "no base64" },
        ),
        (
            json!({"data": null, "data_base64": "aGFsbG8="}),
            EventFault::Data { member: "data_base64", found: "no base64 of a JSON object" },
        ),
        (json!({"sluicenode": "a b"}), EventFault::Nodes(NodesFault::Name)),
        (json!({"sluicenode": "1,2,3,4,5,6,7,8,9"}), EventFault::Nodes(NodesFault::TooMany)),
    ] {
        assert_eq!(structured(&event(&changes)), Err(fault), "{changes}");
    }
    let read = |body: &str| read(&message(Some("application/cloudevents+json"), &[], body), false);
    assert!(matches!(read("[1]"), Err(EventFault::NotAnObject(_))));
    assert!(matches!(read("{"), Err(EventFault::NotAnObject(_))));
    // No text of the payload gets into the detail.
    let text = read(&format!("\"secret{}\"", "x".repeat(9000))).unwrap_err().to_string();
    assert!(!text.contains("secret") && text.len() < 100, "{text}");
    let twice = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","i\u0064":"2"}"#;
    assert_eq!(read(twice), Err(EventFault::Twice("id".into())));
}

#[test]
fn each_broken_binary_event_is_named() {
    for (properties, fault) in [
        (&[("specversion", "1.0")][..], EventFault::Missing("id")),
        (&[BINARY[0], BINARY[2], BINARY[3]], EventFault::Missing("id")),
        (&[BINARY[0], BINARY[1], BINARY[3]], EventFault::Missing("source")),
        (&[BINARY[0], BINARY[1], BINARY[2]], EventFault::Missing("type")),
        (&[("specversion", "0.3"), BINARY[1], BINARY[2], BINARY[3]], EventFault::Version),
        (&[("specversion", ""), BINARY[1]], EventFault::Empty("specversion")),
    ] {
        assert_eq!(binary(properties), Err(fault), "{properties:?}");
    }
    let with = |extra: &[(&str, &str)]| binary(&[&BINARY[..], extra].concat());
    assert_eq!(with(&[("Bad_Ext", "x")]), Err(EventFault::Name("Bad_Ext".into())));
    assert_eq!(with(&[("id", "2")]), Err(EventFault::Twice("id".into())));
    assert_eq!(with(&[("time", "12:00")]), Err(EventFault::Time));
    assert!(with(&[("ext1", "x"), ("sequence", "5")]).is_ok());
}

#[test]
fn an_event_without_data_is_an_empty_object_and_base64_is_decoded() {
    assert_eq!(structured(&event(&json!({"data": null}))).unwrap().data, "{}");
    assert_eq!(read(&message(None, &BINARY, ""), false).unwrap().data, "{}");
    let encoded = json!({"data": null, "data_base64": "eyJtZXRyaWNzIjp7InQiOjF9fQ=="});
    assert_eq!(structured(&event(&encoded)).unwrap().data, r#"{"metrics":{"t":1}}"#);
}

#[test]
fn a_plain_message_is_kept_and_lenient_rules_find_an_event_without_a_content_type() {
    let body = event(&json!({"Bad_Ext": 1})).to_string();
    let plain = read(&message(None, &[], &body), false).unwrap();
    assert_eq!((plain.identity, &plain.data[..]), (None, body.as_bytes()));
    let lenient = read(&message(None, &[], &body), true).unwrap();
    assert_eq!(lenient.identity, Some(event_identity("/s", "1")));
    assert_eq!(lenient.data, r#"{"metrics":{"t":1}}"#);
    let three = event(&json!({"type": null})).to_string();
    assert_eq!(read(&message(None, &[], &three), true).unwrap().identity, None);
    let properties = [&BINARY[..], &[("__ts", "5")]].concat();
    assert!(read(&message(None, &properties, "{}"), true).is_ok());
}

#[test]
fn nodes_are_read_in_both_forms() {
    let read = |properties: &[(&str, &str)]| {
        read(&message(None, properties, "{}"), false).map(|parts| parts.via.join(" "))
    };
    assert_eq!(
        read(&[("sluicenode", "a,b"), ("sluice-node", "c"), ("sluice-node", "b")]).unwrap(),
        "a b c"
    );
    assert_eq!(read(&[]).unwrap(), "");
    assert_eq!(read(&[("sluice-node", "")]), Err(EventFault::Nodes(NodesFault::Name)));
}

#[test]
fn a_fault_quotes_a_name_cut_short_and_without_control_characters() {
    let name = format!("X\n{}", "y".repeat(100));
    let text = structured(&event(&json!({ name: 1 }))).unwrap_err().to_string();
    assert!(text.contains("X\u{fffd}yyy") && text.len() < 160, "{text}");
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        content_type in prop::option::of("(application/cloudevents)?[+;a-z -]{0,12}"),
        properties in prop::collection::vec(("(specversion|id|source|type|time|sluicenode|[a-zA-Z-]{0,5})", "[a-z0-9.,]{0,6}"), 0..6),
        payload in "\\{?(\"(specversion|id|data|data_base64|time)\":(\"[a-z0-9]{0,5}\"|1|null|\\{\\}|\\[),?){0,5}\\}?",
        lenient: bool,
    ) {
        let properties: Vec<(&str, &str)> =
            properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let _ = read(&message(content_type.as_deref(), &properties, &payload), lenient);
    }
}
