//! A client of Symphony's MQTT binding finds what it knows: topics, bytes, states. And an answer to
//! everything, whatever was sent.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::coa_client::{CoaClient, publish_once, request_once};
use crate::support::process::run_to_end;
use crate::support::test_daemon::TestDaemon;

const TOPICS: [(&str, &str); 2] =
    [("MQTT_API_REQUEST_TOPIC", "coa-request"), ("MQTT_API_RESPONSE_TOPIC", "coa-response")];

fn greeting() -> String {
    format!("Hello from Sluice {}", env!("CARGO_PKG_VERSION"))
}

fn base64(text: &str) -> String {
    let script = format!("printf %s '{text}' | base64 -w0");
    run_to_end(Command::new("sh").args(["-c", &script]))
}

#[test]
fn a_greeting_has_symphonys_bytes_at_every_qos_and_keeps_the_request_id() {
    let it = TestDaemon::builder().broker().database().with(&TOPICS).start_ready();
    let caller = CoaClient::on(&it.broker, "coa-request", "coa-response");
    let body = base64(&greeting());
    let plain = format!(r#"{{"contentType":"text/plain","body":"{body}","state":200}}"#);
    for qos in ["0", "1", "2"] {
        caller.publish_at(qos, [r#"{"route":"greetings","method":"GET"}"#]);
        assert_eq!(caller.receive().text, plain, "QoS {qos}");
    }
    for request in [
        r#"{"method":"POST","route":"greetings","contentType":"","body":null,"metadata":{"request-id":"7"}}"#,
        r#"{"Method":"get","ROUTE":"/greetings","metadata":{"request-id":"7","x":"y"},"more":[1]}"#,
    ] {
        let named = format!(
            r#"{{"contentType":"text/plain","body":"{body}","state":200,"metadata":{{"request-id":"7"}}}}"#
        );
        assert_eq!(caller.ask_text(request).text, named, "{request}");
    }

    // Two users of MQTT 5: the Response Topic and the Correlation Data of a generic client.
    let five = ["-V", "5", "-t", "coa-request", "-e", "coa-response", "-F", "%t %D %C %E"];
    let five = [&five[..], &["-D", "publish", "correlation-data", "abc"]].concat();
    let printed = request_once(it.broker.port(), &five, r#"{"route":"greetings"}"#);
    let fields: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(&fields[..3], ["coa-response", "abc", "application/json"], "{printed}");
    let left: u32 = fields[3].parse().unwrap();
    assert!((1..=60).contains(&left), "the response expires: {printed}");

    // A request with the retain flag is not answered, now or after a restart.
    let drained = caller.receive();
    assert_eq!(drained.state, 200, "the response to mosquitto_rr");
    publish_once(
        it.broker.port(),
        "coa-request",
        &["-q", "1", "-r", "-m", r#"{"route":"openapi.json"}"#],
    );
    it.daemon.wait_metric("sluice_api_requests_dropped_total{why=\"retained\"}", 1.0);
    it.daemon.terminate();
    it.daemon.start_again();
    it.daemon.wait_ready();
    let next = caller.ask_text(r#"{"route":"greetings","metadata":{"request-id":"next"}}"#);
    assert_eq!(next.request_id(), Some("next"));
    assert!(caller.is_silent());
}

#[test]
fn everything_gets_a_response_and_a_flood_of_it_harms_nobody() {
    let it = TestDaemon::builder()
        .broker()
        .registry("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')")
        .with(&TOPICS)
        .set("ADMIN_TOKEN", "the-admin-token-of-this-test")
        .start_ready();
    let caller = CoaClient::on(&it.broker, "coa-request", "coa-response");
    let wrong = [
        (400, "not json"),
        (400, "[]"),
        (400, "{}"),
        (400, r#"{"route":"greetings","body":"%%"}"#),
        (400, r#"{"route":"greetings","metadata":{"a":1}}"#),
        (400, r#"{"route":"../../metrics"}"#),
        (404, r#"{"route":"nope"}"#),
        (404, r#"{"route":"devices/pump-1"}"#),
        (405, r#"{"route":"greetings","method":"DELETE"}"#),
        (405, r#"{"route":"openapi.json","method":"FETCH"}"#),
        (401, r#"{"route":"tenants"}"#),
        (401, r#"{"route":"tenants","metadata":{"authorization":"Bearer wrong"}}"#),
        (200, r#"{"route":"openapi.json"}"#),
        (404, r#"{"route":"ca-bundle"}"#),
        (404, r#"{"route":"crl.pem"}"#),
    ];
    for (state, request) in wrong {
        let reply = caller.ask_text(request);
        assert_eq!(reply.state, state, "{request}: {}", String::from_utf8_lossy(&reply.body));
        if state >= 400 {
            assert_eq!(reply.json()["status"], state, "a problem document");
        }
    }
    let half_read = r#"{"route":"greetings","metadata":{"a":1,"request-id":"kept"}}"#;
    assert_eq!(caller.ask_text(half_read).request_id(), Some("kept"));

    // A megabyte, of JSON and of no JSON.
    let large = it.settings.dir().write(
        "large",
        json!({ "route": "greetings", "metadata": { "request-id": "large" }, "body": "x".repeat(1 << 20) })
            .to_string(),
    );
    publish_once(it.broker.port(), "coa-request", &["-q", "1", "-f", large.to_str().unwrap()]);
    assert_eq!(caller.receive().state, 413);

    let before = it.daemon.rss_kib();
    for (_, request) in &wrong[..9] {
        caller.publish_at("0", std::iter::repeat_n(*request, 2_000));
    }
    // What the flood left behind is read and passed over.
    let mut answered = 0;
    while caller.receive_within(Duration::from_secs(2)).is_some() {
        answered += 1;
    }
    assert!(answered > 1_000, "{answered} of 18,000 got a response");
    assert_eq!(caller.ask_text(r#"{"route":"greetings"}"#).state, 200);
    let after = it.daemon.rss_kib();
    assert!(after < before + 48 * 1024, "{before} -> {after} KiB");
    assert!((it.daemon.metric("sluice_api_connected") - 1.0).abs() < 0.1);
}

#[test]
fn topics_can_be_named_as_one_likes() {
    let it = TestDaemon::builder()
        .broker()
        .database()
        .set("MQTT_API_REQUEST_TOPIC", "dev/request")
        .set("MQTT_API_RESPONSE_TOPIC", "dev/response")
        .set("MQTT_API_PREFIX", "plant/api")
        .set("MQTT_API_CALLERS", "ops=admin")
        .start_ready();
    let shared = CoaClient::on(&it.broker, "dev/request", "dev/response");
    assert_eq!(shared.ask_text(r#"{"route":"greetings"}"#).body, greeting().as_bytes());
    let named = CoaClient::on(&it.broker, "plant/api/request/ops", "plant/api/response/ops");
    assert_eq!(
        named.ask_text(r#"{"route":"tenants"}"#).ok(200),
        json!({"items": [], "next": null})
    );
    assert!(shared.is_silent());
}

#[test]
fn what_names_no_caller_gets_no_response_and_is_counted() {
    let it = TestDaemon::builder()
        .broker()
        .database()
        .set("MQTT_API_CALLERS", "ops=admin")
        .start_ready();
    publish_once(it.broker.port(), "symphony/request/", &["-q", "1", "-m", "{}"]);
    it.daemon.wait_metric("sluice_api_requests_dropped_total{why=\"topic\"}", 1.0);
}
