//! What each route answers, and how a response looks, also to what is no request.

use std::time::Duration;

use serde_json::{Value, json};
use sluice::clock;

use super::requester::{Requester, Response};
use super::rig::{self, mosquitto_rr};
use crate::support::test_daemon::TestDaemon;

const PUMP: &str = "acme/device/pump-1";
const ROOT: &str = "tenant/acme/device/pump-1";

fn text(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn mosquitto_rr_gets_its_answers_over_mqtt_5_and_3_1_1() {
    let it = rig::start(&[]);
    let port = it.broker.port();
    let topic = format!("{ROOT}/request/time");

    let own = format!("{ROOT}/response/9");
    let correlation = ["-D", "publish", "correlation-data", "abc"];
    let mut arguments = vec!["-V", "5", "-t", &topic, "-e", &own, "-F", "%t|corr=%D|%p"];
    arguments.extend(correlation);
    arguments.extend(["-m", r#"{"t0":1}"#]);
    let answer = text(&mosquitto_rr(port, PUMP, &arguments));
    let (head, payload) = answer.split_once("|{").unwrap();
    assert_eq!(head, format!("{own}|corr=abc"));
    let payload: Value = serde_json::from_str(&format!("{{{payload}")).unwrap();
    assert_eq!((&payload["status"], &payload["body"]["t0"]), (&json!(200), &json!(1)));
    let t1 = payload["body"]["t1"].as_i64().unwrap();
    let now = clock::now().micros() / 1_000;
    assert!((now - t1).abs() < 20_000, "{payload} at {now}");
    assert!(payload["body"]["t2"].as_i64().unwrap() >= t1);

    let default = format!("{ROOT}/response/time/accepted");
    let old = ["-V", "311", "-t", &topic, "-e", &default, "-m", r#"{"id":"x"}"#];
    let answer: Value = serde_json::from_str(&text(&mosquitto_rr(port, PUMP, &old))).unwrap();
    assert_eq!((&answer["id"], &answer["status"]), (&json!("x"), &json!(200)));

    let (topic, rejected) = (format!("{ROOT}/request/x"), format!("{ROOT}/response/x/rejected"));
    let unknown = ["-V", "311", "-t", &topic, "-e", &rejected, "-m", r#"{"id":7}"#];
    let answer: Value = serde_json::from_str(&text(&mosquitto_rr(port, PUMP, &unknown))).unwrap();
    assert_eq!((&answer["id"], &answer["status"]), (&json!(7), &json!(404)));
}

#[test]
fn every_request_gets_an_answer_also_what_is_none() {
    let it = rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), PUMP);

    let long = format!(r#"{{"id":"big","a":"{}"}}"#, "a".repeat(17_000));
    for (route, payload, status, id) in [
        ("time", "", 200, Value::Null),
        ("time", "not JSON", 400, Value::Null),
        ("time", r#"{"id":"a","t0":nope}"#, 400, json!("a")),
        ("time", r#"{"t0":nope,"id":5}"#, 400, json!(5)),
        ("time", r#"{"id":1.5}"#, 400, Value::Null),
        ("time", "[]", 400, Value::Null),
        ("time", r#"{"id":"b","unknown":1}"#, 400, json!("b")),
        ("time", r#"{"id":"c","provision_token":1}"#, 400, json!("c")),
        ("time", &long, 413, json!("big")),
        ("nope", r#"{"id":"d"}"#, 404, json!("d")),
        ("certificate/nope", r#"{"id":"e"}"#, 404, json!("e")),
    ] {
        let response = pump.call(route, payload);
        assert_eq!(response.status(), status, "{route} {payload}: {response:?}");
        assert_eq!(response.json["id"], id, "{payload}");
        let end = if status == 200 { "accepted" } else { "rejected" };
        assert_eq!(response.path(), format!("{route}/{end}"));
        check_form(&response);
    }

    let correlated = pump.request("time", r#"{"id":"f"}"#).correlation([0, 255, 1]);
    let response = pump.ask(&correlated);
    assert_eq!(response.properties.correlation_data.as_deref(), Some([0, 255, 1].as_slice()));
    let most = pump.request("nope", "").correlation([7; 256]);
    assert_eq!(pump.ask(&most).properties.correlation_data.as_deref(), Some([7; 256].as_slice()));
    let over = pump.request("time", r#"{"id":"g"}"#).correlation([7; 257]);
    let response = pump.ask(&over);
    assert_eq!((response.status(), &response.json["id"]), (400, &json!("g")));
    assert_eq!(response.properties.correlation_data, None);
    check_metrics(&it);
}

/// What every response has.
fn check_form(response: &Response) {
    let properties = &response.properties;
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.payload_format_indicator, Some(1));
    let expiry = properties.message_expiry_interval.unwrap();
    assert!((55..=60).contains(&expiry), "{expiry}");
    let status = response.status().to_string();
    assert_eq!(properties.user_properties, [("status".to_owned(), status)]);
    assert!(!response.publish.retain);
    assert_eq!(response.publish.qos as u8, 1);
    let time = response.json["time"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    if response.status() >= 400 {
        assert!(response.json["type"].as_str().unwrap().starts_with("urn:sluice:problem:"));
        assert!(response.json["detail"].is_string() && response.json["title"].is_string());
    }
}

fn check_metrics(it: &TestDaemon) {
    let count = |labels: &str| it.daemon.metric(&format!("sluice_api_requests_total{labels}"));
    it.daemon.wait_metric("sluice_api_requests_total", 14.0);
    let rounded = |value: f64| value.round().to_string();
    assert_eq!(rounded(count("{route=\"time\",status=\"200\"}")), "2");
    assert_eq!(rounded(count("{route=\"other\",status=\"404\"}")), "3");
    assert_eq!(rounded(it.daemon.metric("sluice_api_requests_waiting")), "0");
    assert!(it.daemon.metric("sluice_api_request_seconds_count") > 13.0);
    // The responses are ignored by the spine, which stores nothing of them.
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "0");
    assert_eq!(it.database.value("SELECT count(*) FROM telemetry"), "0");
}

#[test]
fn a_device_reads_its_own_row_and_why_a_message_would_be_refused() {
    let it = rig::start(&[("MAX_PAYLOAD_BYTES", "4096")]);
    let mut pump = Requester::connect(it.broker.port(), PUMP);

    let device = pump.call("device", r#"{"id":1}"#);
    let body = &device.json["body"];
    assert_eq!(device.status(), 200, "{device:?}");
    assert_eq!((&body["device_id"], &body["status"]), (&json!("pump-1"), &json!("ACTIVE")));
    assert_eq!((&body["metadata"]["model"], &body["has_token"]), (&json!("x"), &json!(false)));
    assert_eq!(body["limits"]["max_payload_bytes"], json!(4096));
    assert_eq!(body["active_certificates"], json!([]));
    assert!(!device.json.to_string().contains("hash"), "{device:?}");

    let mut explain = |topic: &str, payload: Value| {
        let request = json!({ "topic": topic, "payload": payload }).to_string();
        pump.call("explain", request)
    };
    let good = explain(&format!("{ROOT}/telemetry"), json!({ "metrics": { "t": 1 } }));
    assert_eq!((good.status(), &good.json["body"]["accepted"]), (200, &json!(true)), "{good:?}");
    let old = explain(&format!("{ROOT}/telemetry"), json!(r#"{"ts":1,"metrics":{}}"#));
    assert_eq!(old.json["body"]["reason"], json!("TIMESTAMP_OUT_OF_RANGE"), "{old:?}");
    let bad = explain(&format!("{ROOT}/a b"), json!("{}"));
    assert_eq!(bad.json["body"]["reason"], json!("BAD_TOPIC_FORMAT"), "{bad:?}");
    let own = explain(&format!("{ROOT}/shadow/desired"), json!("{}"));
    assert!(own.json["body"]["why"].as_str().unwrap().starts_with("ignored"), "{own:?}");
    for foreign in ["tenant/acme/device/pump-2/telemetry", "coa-request", "$SYS/x", ""] {
        let refused = explain(foreign, json!("{}"));
        assert_eq!(refused.status(), 403, "{foreign}: {refused:?}");
    }
    assert_eq!(explain("x", Value::Null).status(), 403);
    assert_eq!(it.database.value("SELECT count(*) FROM quarantine_events"), "0");
}

#[test]
fn a_device_reads_its_shadow_and_takes_its_commands() {
    let it = rig::start(&[]);
    let mut pump = Requester::connect(it.broker.port(), PUMP);

    let empty = pump.call("shadow", "");
    assert_eq!(empty.status(), 200, "{empty:?}");
    assert_eq!(
        (&empty.json["body"]["desired"], &empty.json["body"]["in_sync"]),
        (&Value::Null, &json!(true))
    );
    it.database.query(
        "INSERT INTO device_state (tenant_id, device_id, desired, reported) \
         VALUES ('acme', 'pump-1', '{\"rate\":1.50,\"big\":12345678901234567890123}', '{\"rate\":2}')",
    );
    let shadow = pump.call("shadow", r#"{"id":"s"}"#);
    let body = &shadow.json["body"];
    assert_eq!(
        (&body["desired_version"], &body["in_sync"]),
        (&json!(1), &json!(false)),
        "{shadow:?}"
    );
    let payload = String::from_utf8(shadow.publish.payload.to_vec()).unwrap();
    assert!(payload.contains("12345678901234567890123"), "numbers keep their digits: {payload}");
    let known = pump.call("shadow", r#"{"version":1}"#);
    assert_eq!((known.status(), known.path()), (304, "shadow/accepted"), "{known:?}");
    assert_eq!(known.json["body"], json!({ "desired_version": 1 }));
    assert_eq!(pump.call("shadow", r#"{"version":0}"#).status(), 200);

    // The publisher of commands is faster than a request; these wait in the table for a device that
    // has no subscription of its own.
    assert_eq!(pump.call("commands", "").json["body"], json!({ "commands": [] }));
    it.database.query(
        "INSERT INTO device_commands (tenant_id, device_id, command_id, command_type, params) SELECT 'acme', 'pump-1', \
         ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'reboot', jsonb_build_object('n', n) FROM generate_series(1, 4) n",
    );
    let taken = pump.call("commands", r#"{"limit":2}"#);
    let commands = taken.json["body"]["commands"].as_array().unwrap();
    let numbers: Vec<&Value> = commands.iter().map(|command| &command["params"]["n"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)], "{taken:?}");
    assert!(commands[0]["attempt"].as_i64().unwrap() >= 1);
    assert!(commands[0]["expires_at"].is_string() && commands[0]["command_type"] == "reboot");
    for wrong in [r#"{"limit":0}"#, r#"{"limit":21}"#, r#"{"limit":"1"}"#, r#"{"max":1}"#] {
        assert_eq!(pump.call("commands", wrong).status(), 400, "{wrong}");
    }
    let foreign = Requester::connect(it.broker.port(), "acme/device/pump-2")
        .call("commands", "")
        .json["body"]
        .clone();
    assert_eq!(foreign, json!({ "commands": [] }));
    assert!(pump.response_within(Duration::from_millis(100)).is_none(), "one answer each");
}
