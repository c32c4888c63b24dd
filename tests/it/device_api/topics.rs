//! Where responses go: never to a topic of others, whatever a request names.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use serde_json::json;

use super::requester::{Request, Requester};
use super::rig;
use crate::support::mosquitto;

const PUMP: &str = "acme/device/pump-1";
const ROOT: &str = "tenant/acme/device/pump-1";

/// What the watcher receives of messages that are no requests.
fn responses_seen(watcher: &mut Requester) -> Vec<String> {
    let seen = std::iter::from_fn(|| watcher.response_within(Duration::from_millis(300)));
    let topics = seen.map(|message| message.topic);
    topics.filter(|topic| !topic.contains("/request/")).collect()
}

#[test]
fn a_response_topic_of_others_is_not_used_and_harms_no_connection() {
    let it = rig::start(&[]);
    let port = it.broker.port();
    let mut watcher = Requester::connect_only(port, "watcher");
    for filter in ["tenant/acme/#", "tenant/x", "$SYS/a"] {
        watcher.subscribe(filter);
    }
    watcher.subscribe("coa-response");
    let mut pump = Requester::connect(port, PUMP);
    let foreign = [
        "tenant/+/x",
        "#",
        "",
        "$SYS/a",
        "tenant/acme/device/pump-2/response/1",
        "coa-response",
        &format!("{ROOT}/request/time"),
        &format!("{ROOT}/telemetry"),
        &format!("{ROOT}/response/"),
        &format!("{ROOT}/response/+"),
        &format!("{ROOT}/response/{}", "x".repeat(250)),
    ];
    let is_sent = |topic: &&str| {
        !mosquitto::checks_response_topics() || !(topic.is_empty() || topic.contains(['+', '#']))
    };
    let foreign: Vec<&str> = foreign.into_iter().filter(is_sent).collect();
    for (number, topic) in foreign.iter().enumerate() {
        let request = pump.request("time", json!({ "id": number }).to_string());
        let response = pump.ask(&request.response_topic(topic));
        assert_eq!((response.path(), &response.json["id"]), ("time/accepted", &json!(number)));
    }
    let used = pump.request("time", "").response_topic(&format!("{ROOT}/response/a/b"));
    assert_eq!(pump.ask(&used).path(), "a/b");
    let used = pump.request("nope", "").response_topic(&format!("{ROOT}/response/a/b"));
    assert_eq!(pump.ask(&used).path(), "a/b", "a rejection too");

    let expected = foreign.len() + 2;
    let seen = responses_seen(&mut watcher);
    assert_eq!(seen.len(), expected, "{seen:?}");
    assert!(seen.iter().all(|topic| topic.starts_with(&format!("{ROOT}/response/"))), "{seen:?}");
    let bad = it.daemon.metric("sluice_api_bad_response_topics_total");
    assert_eq!(bad.round().to_string(), foreign.len().to_string());
    assert!(it.daemon.metric("sluice_api_connected") > 0.5);
    assert!(it.daemon.metric("sluice_api_reconnects_total") < 0.5);
}

#[test]
fn a_device_gets_no_answer_for_another_and_reads_none_of_another() {
    let it = rig::start(&[]);
    let port = it.broker.port();
    let mut thief = Requester::connect(port, "acme/device/pump-2");
    thief.subscribe(&format!("{ROOT}/#"));
    let request = Request::to(format!("{ROOT}/request/device"), "");
    let refused = thief.publish(&request);
    assert_eq!(refused, PubAckReason::NotAuthorized);
    let mut pump = Requester::connect(port, PUMP);
    assert_eq!(pump.call("device", "").status(), 200);
    assert!(thief.response_within(Duration::from_millis(500)).is_none());
    assert_eq!(it.daemon.metric("sluice_api_requests_total").round().to_string(), "1");
}

#[test]
fn what_is_no_request_of_a_device_is_dropped_and_counted() {
    let it = rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), PUMP);
    for path in ["request", "request/", "request//time", "request/time/", "request/a b"] {
        pump.publish(&Request::to(format!("{ROOT}/{path}"), ""));
    }
    it.daemon.wait_metric("sluice_api_requests_dropped_total{why=\"topic\"}", 4.0);
    assert_eq!(pump.call("time", "").status(), 200);
    assert!(pump.response_within(Duration::from_millis(200)).is_none());
}

#[test]
fn a_retained_request_is_not_answered_again_by_each_start() {
    let it = rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), PUMP);
    let request = Request { is_retained: true, ..pump.request("time", r#"{"id":"kept"}"#) };
    pump.publish(&request);
    // The first delivery may be answered: a live message shows no sign that it is retained.
    let first = pump.response_within(Duration::from_secs(2));
    for _ in 0..3 {
        it.daemon.kill9();
        it.daemon.start_again();
        it.daemon.wait_ready();
        it.daemon.wait_metric("sluice_api_connected", 1.0);
        let response = pump.call("time", r#"{"id":"live"}"#);
        assert_eq!(response.json["id"], json!("live"), "after {first:?}");
    }
    assert!(pump.response_within(Duration::from_millis(300)).is_none());
}
