//! What MQTT itself allows, or Mosquitto lets through: sizes, topics, qualities of service,
//! properties.

use std::process::Command;

use rumqttc::v5::mqttbytes::QoS;

use crate::pipeline::fixture::{Pipeline, TRUSTING, assert_same, sorted, to};
use crate::support::device::{Fate, Message};
use crate::support::process::run_to_end;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants VALUES ('acme', 'Acme'); INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'p1')";

const QUALITIES: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The daemon owes the broker no acknowledgement.
fn assert_all_acknowledged(pipeline: &Pipeline) {
    wait::until("all is acknowledged", || pipeline.daemon.metric("sluice_inflight_unacked") < 0.5);
}

#[test]
fn a_packet_over_the_limit_is_quarantined_at_every_quality_of_service() {
    let settings = [TRUSTING[0], ("MQTT_MAX_PACKET_BYTES", "2000"), ("MAX_PAYLOAD_BYTES", "1000")];
    let mut pipeline = Pipeline::new(&settings, REGISTRY);
    let shell = r#"{"provision_token":"t0ken-in-it","x":""}"#;
    // Over the bound of payloads, over the bound of packets, over every buffer.
    for size in [1_001, 2_001, 70_000, 5_000_000] {
        let payload = shell.replace(r#""""#, &format!(r#""{}""#, "x".repeat(size - shell.len())));
        for qos in QUALITIES {
            pipeline.send(&[
                to(&format!("acme/device/p1/telemetry/{size}"), &payload).qos(qos),
                to("acme/device/p1/telemetry", "{}").qos(qos),
            ]);
        }
    }
    pipeline.settle();
    let refused =
        "SELECT msg_type || ' ' || reason, count(*)::text FROM quarantine_events GROUP BY 1";
    let expected = ["1001", "2001", "70000", "5000000"]
        .map(|size| format!("telemetry/{size} PAYLOAD_TOO_LARGE"));
    assert_same(
        &pipeline.pairs(refused),
        &sorted(expected.iter().map(|line| (line.as_str(), "3"))),
    );
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "12");
    let kept = "SELECT DISTINCT (length(payload) > 0)::text, (position('t0ken' in encode(payload, 'escape')))::text \
        FROM quarantine_events";
    assert_same(&pipeline.pairs(kept), &sorted([("true", "0")]));
    let said = pipeline
        .value("SELECT detail FROM quarantine_events WHERE msg_type LIKE '%5000000' LIMIT 1");
    assert!(said.starts_with("5000000 bytes; MAX_PAYLOAD_BYTES is 1000; the first "), "{said}");
    assert_all_acknowledged(&pipeline);
    pipeline.assert_unharmed();
}

#[test]
fn a_message_of_every_quality_of_service_is_stored_once() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    for (qos, name) in QUALITIES.into_iter().zip(["q0", "q1", "q2"]) {
        let path = format!("acme/device/p1/{name}");
        let messages = (0..100).map(|number| to(&path, format!(r#"{{"seq":{number}}}"#)).qos(qos));
        pipeline.send(&messages.collect::<Vec<_>>());
    }
    pipeline.settle();
    let rows = "SELECT msg_type, count(*) || ' ' || count(DISTINCT seq) FROM telemetry GROUP BY 1";
    assert_same(&pipeline.pairs(rows), &sorted(["q0", "q1", "q2"].map(|name| (name, "100 100"))));
    assert_all_acknowledged(&pipeline);
    pipeline.assert_unharmed();
}

#[test]
fn a_topic_that_is_no_text_never_gets_past_the_broker_or_is_quarantined() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let prefix = b"tenant/acme/device/p1/telemetry/";
    // Mosquitto closes the connection of a client that sends such a topic; a broker that passes it
    // on does no harm.
    let bad: [&[u8]; 8] = [
        b"\xff",
        b"\xed\xa0\x80",
        b"a\0b",
        b"a\x01b",
        b"a\x7fb",
        b"\xc2\x85",
        b"+",
        b"\xf0\x9f\x98",
    ];
    let mut passed = 0;
    for end in bad {
        let message = Message::new([&prefix[..], end].concat(), "{}");
        match pipeline.device.publish_all(&[message])[0] {
            Fate::Accepted => passed += 1,
            Fate::Refused(_) => {}
            Fate::Unknown => pipeline.device.reconnect().unwrap(),
        }
    }
    pipeline.expect(passed);
    // These are text, and the broker takes them.
    let texts = ["\u{1f600}", "ä", " ", "\u{feff}", "%2f", "$x", "'; DROP TABLE telemetry; --"];
    pipeline.send(&texts.map(|end| to(&format!("acme/device/p1/telemetry/{end}"), "{}")));
    pipeline.publish("acme/device/p1/telemetry", "{}");
    pipeline.settle();
    let refused = pipeline.pairs("SELECT reason, count(*)::text FROM quarantine_events GROUP BY 1");
    assert_same(
        &refused,
        &sorted([("BAD_TOPIC_FORMAT", (texts.len() + passed).to_string().as_str())]),
    );
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "1");
    pipeline.assert_unharmed();
}

#[test]
fn the_longest_topic_mqtt_allows_is_quarantined_whole() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let start = "acme/device/p1/telemetry/";
    let path = format!("{start}{}", "x".repeat(65_535 - "tenant/".len() - start.len()));
    pipeline.publish(&path, "{}");
    // Nearly as deep as Mosquitto lets a topic be.
    pipeline.publish(&format!("{start}{}", vec!["x"; 190].join("/")), "{}");
    pipeline.publish("acme/device/p1/telemetry", "{}");
    pipeline.settle();
    let kept = "SELECT reason, length(topic)::text FROM quarantine_events";
    assert_same(
        &pipeline.pairs(kept),
        &sorted([("BAD_TOPIC_FORMAT", "65535"), ("BAD_TOPIC_FORMAT", "411")]),
    );
    assert_eq!(pipeline.value("SELECT count(*) FROM telemetry"), "1");
    pipeline.assert_unharmed();
}

#[test]
fn properties_of_a_message_are_read_over_and_harm_nothing() {
    let mut pipeline = Pipeline::new(&TRUSTING, REGISTRY);
    let port = pipeline.broker.port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv5", "-h", "127.0.0.1", "-p", &port, "-q", "1"]);
    command.args(["-t", "tenant/acme/device/p1/telemetry", "-m", r#"{"seq":7}"#]);
    let long = "v".repeat(60_000);
    for (name, value) in [("plain", "value"), ("long", &long), ("ü", "😀"), ("empty", "")] {
        command.args(["-D", "publish", "user-property", name, value]);
    }
    command.args(["-D", "publish", "content-type", "application/json"]);
    command.args([
        "-D",
        "publish",
        "payload-format-indicator",
        "1",
        "-D",
        "publish",
        "correlation-data",
        "c",
    ]);
    command.args([
        "-D",
        "publish",
        "response-topic",
        "a/b",
        "-D",
        "publish",
        "message-expiry-interval",
        "60",
    ]);
    run_to_end(&mut command);
    pipeline.expect(1);
    pipeline.settle();
    assert_eq!(pipeline.value("SELECT seq FROM telemetry"), "7");
    assert!(pipeline.daemon.metric("sluice_mqtt_malformed_packets_total") < 0.5);
    pipeline.assert_unharmed();
}
