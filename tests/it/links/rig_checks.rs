//! The stand-ins do what they should, with clients that are not Sluice: without that the tests that
//! use them prove nothing.

use serde_json::{Value, json};

use super::cloud::{CloudBroker, TokenKeys};
use super::rig::run_peer;

/// What MQTT.js sees at this broker.
fn seen(keys: &TokenKeys, url: &str, wish: &Value) -> Vec<Value> {
    let mut all = json!({ "url": url, "key": keys.private(), "client_id": "gate-1" });
    all.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
    let printed = run_peer("custom_jwt_client.js", &[&all.to_string()]);
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn mqtt_js_is_let_in_over_tls_and_websockets_and_renews_its_token() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &[]);
    let renewals = json!([{}, { "claims": { "aud": ["elsewhere", "127.0.0.1/"] } }]);
    for url in [
        format!("mqtts://127.0.0.1:{}", cloud.tls),
        format!("wss://127.0.0.1:{}/mqtt", cloud.wss),
        format!("ws://127.0.0.1:{}/mqtt", cloud.ws),
    ] {
        let events = seen(
            &keys,
            &url,
            &json!({
                "ca": cloud.ca(), "renew": renewals,
                "subscribe": ["devices/gate-1/#", "devices/other/#"],
                "publish": ["devices/gate-1/a", "devices/other/a"],
            }),
        );
        for event in [
            json!({ "connack": 0, "method": "CUSTOM-JWT" }),
            json!({ "suback": "devices/gate-1/#", "codes": [1] }),
            json!({ "suback": "devices/other/#", "codes": [0x87] }),
            json!({ "puback": "devices/gate-1/a", "code": 0 }),
            json!({ "puback": "devices/other/a", "code": 0x87 }),
        ] {
            assert!(events.contains(&event), "{url}: no {event} in {events:?}");
        }
        let renewed = events.iter().filter(|event| event["auth"] == json!(0)).count();
        assert_eq!(renewed, 2, "{url}: {events:?}");
    }
}

#[test]
fn each_fault_of_a_token_is_refused_and_named_in_the_log() {
    let keys = TokenKeys::new();
    let cloud = CloudBroker::custom_jwt(&keys, &["plugin_opt_jwt_sub gate-1 gate-2"]);
    let url = format!("mqtt://127.0.0.1:{}", cloud.broker.port());
    let refused = |wish: Value, code: u8, logged: &str| {
        let before = cloud.count(logged);
        let events = seen(&keys, &url, &wish);
        assert!(events.contains(&json!({ "refused": code })), "{wish}: {events:?}");
        assert_eq!(cloud.count(logged), before + 1, "{wish}: {}", cloud.broker.log());
    };
    for (claims, fault) in [
        (json!({ "iss": "other" }), "iss"),
        (json!({ "aud": "127.0.0.1" }), "aud"),
        (json!({ "nbf": null }), "nbf"),
        (json!({ "exp": 1 }), "exp"),
        (json!({ "sub": "gate-9" }), "sub is no registered client"),
    ] {
        refused(json!({ "claims": claims }), 0x87, &format!("refused: {fault}"));
    }
    let events = seen(&keys, &url, &json!({ "method": "OAUTH2-JWT" }));
    assert!(events.contains(&json!({ "refused": 0x8c })), "{events:?}");
    assert!(
        seen(&keys, &url, &json!({})).contains(&json!({ "connack": 0, "method": "CUSTOM-JWT" }))
    );
    refused(json!({ "claims": { "sub": "gate-2" } }), 0x87, "belongs to another");
    keys.distrust();
    refused(json!({}), 0x87, "refused: signature");
}
