//! The stand-ins of AWS do what they should, with Amazon's own client: without that the tests that use
//! them prove nothing.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::aws::{AwsGate, amazon};
use super::aws_certificate::{AlpnGate, admitted};

fn has(events: &[Value], expected: &Value) {
    assert!(events.contains(expected), "no {expected} in {events:?}");
}

#[test]
fn amazons_client_is_let_in_with_a_good_signature_and_held_to_the_policy() {
    let aws = AwsGate::start();
    let wish = json!({
        "subscribe": ["public/a", "secret/x"], "publish": [["public/a", "hi"], ["secret/x", "no"]],
    });
    let events = amazon(&aws.client("public-1", &wish));
    has(&events, &json!({ "connack": 0 }));
    has(&events, &json!({ "suback": "public/a", "codes": [1] }));
    has(&events, &json!({ "suback": "secret/x", "codes": [0x87] }));
    has(&events, &json!({ "puback": "secret/x", "code": 0x87 }));
    let came =
        events.iter().any(|event| event["message"] == "public/a" && event["payload"] == "hi");
    assert!(came, "{events:?}");

    let refused = amazon(&aws.client("private-1", &json!({})));
    has(
        &refused,
        &json!({ "failed": "AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED", "connack": 0x87 }),
    );
}

#[test]
fn amazons_client_is_refused_for_each_fault_of_a_signature() {
    let aws = AwsGate::start();
    let refused = |aws: &AwsGate, wish: Value, why: &str| {
        let events = amazon(&aws.client("public-1", &wish));
        let failed = "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE";
        has(&events, &json!({ "failed": failed, "connack": null }));
        let judged = aws.upgrades();
        assert_eq!(judged.last().unwrap()["why"], why, "{judged:?}");
    };
    refused(&aws, json!({ "secret_key": "other" }), "wrong signature");
    refused(&aws, json!({ "access_key": "other" }), "unknown access key");
    refused(&aws, json!({ "region": "eu-west-1" }), "wrong credential scope");
    refused(&AwsGate::with(&["--skew", "600"]), json!({}), "clock skew");
    let tokens = ["--tokens", "/dev/null"];
    refused(&AwsGate::with(&tokens), json!({}), "unknown session token");
}

#[test]
fn the_gate_for_certificates_insists_on_the_protocol_name() {
    let aws = AwsGate::start();
    let (certificate, key) = aws.client_certificate("gate-1");
    let Some(mut gate) = AlpnGate::start(&aws) else { return };
    let mut seen_of = |names: &[&str], lines| {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["s_client", "-connect", "127.0.0.1:443", "-quiet", "-no_ign_eof"])
            .args(names);
        openssl.arg("-cert").arg(&certificate).arg("-key").arg(&key);
        openssl.stdin(Stdio::null()).output().unwrap();
        gate.peer.wait_json(lines).pop().unwrap()
    };
    assert_eq!(seen_of(&["-alpn", "x-amzn-mqtt-ca"], 2), admitted("gate-1"));
    assert_eq!(seen_of(&[], 3), json!({ "alpn": null, "client": "gate-1" }));
    let wish = json!({ "port": null, "certificate": certificate, "key": key });
    has(&amazon(&aws.client("any", &wish)), &json!({ "connack": 0 }));
    assert_eq!(gate.peer.wait_json(4).pop().unwrap(), admitted("gate-1"));
}
