//! Named callers: whose name counts, where responses go, what is done once, and what stays secret.

use std::time::Instant;

use serde_json::{Value, json};

use super::coa_client::{CoaClient, publish_once, request_once};
use crate::api::client::Client;
use crate::support::database::Database;
use crate::support::mosquitto::{Mosquitto, checks_response_topics};
use crate::support::proxy::{Direction, Proxy};
use crate::support::test_daemon::{TestDaemon, TestDaemonBuilder};

const TOKEN: &str = "the-admin-token-of-this-test";

const REGISTRY: &str =
    "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('other', 'Other');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')";

fn builder() -> TestDaemonBuilder<Mosquitto, Database<'static>> {
    TestDaemon::builder()
        .broker()
        .registry(REGISTRY)
        .set("ADMIN_TOKEN", TOKEN)
        .set("MQTT_API_REQUEST_TOPIC", "coa-request")
        .set("MQTT_API_RESPONSE_TOPIC", "coa-response")
        .set("MQTT_API_CALLERS", "ops=admin,agent7=admin@acme,dash=reader@acme")
}

#[test]
fn a_role_or_the_admin_token_opens_what_http_answers_byte_for_byte() {
    let it = builder().start_ready();
    assert!(it.daemon.log().contains("reads the ADMIN_TOKEN"), "a warning at the start");
    let http = Client::of(it.listening("HTTP_BIND"), Some(TOKEN));
    let shared = CoaClient::on(&it.broker, "coa-request", "coa-response");
    let ops = CoaClient::named(&it.broker, "ops");
    let with_token = |route: &str| {
        let authorization = format!("Bearer {TOKEN}");
        json!({ "route": route, "metadata": { "authorization": authorization } }).to_string()
    };
    for (route, path) in [
        ("tenants", "/tenants"),
        ("/api/v1/devices", "/devices"),
        ("tenants/acme/devices/pump-1", "/tenants/acme/devices/pump-1"),
        ("tenants/none", "/tenants/none"),
        ("openapi.json", "/openapi.json"),
    ] {
        let expected = http.get(path);
        for reply in [shared.ask_text(&with_token(route)), ops.ask("GET", route, &Value::Null)] {
            assert_eq!(reply.state, u64::from(expected.status), "{route}");
            assert_eq!(reply.body, expected.body, "{route}");
            let header = format!("content-type: {}", reply.content_type);
            assert!(expected.head.contains(&header), "{route}: {header}");
        }
    }
    let detail = shared.ask("GET", "tenants", &Value::Null).detail(401, "unauthorized");
    assert!(detail.contains("metadata.authorization"), "{detail}");

    let dash = CoaClient::named(&it.broker, "dash");
    let added = json!({ "device_id": "pump-2", "token": false });
    let detail = dash.ask("POST", "tenants/acme/devices", &added).detail(403, "forbidden");
    assert_eq!(detail, "the role viewer does not permit this request: it needs admin");
    assert_eq!(dash.ask("GET", "devices/pump-1", &Value::Null).ok(200)["device_id"], "pump-1");
    let stranger = CoaClient::named(&it.broker, "stranger");
    stranger.ask("GET", "greetings", &Value::Null).detail(403, "forbidden");
    stranger.ask("GET", "tenants", &Value::Null).detail(403, "forbidden");
    assert!(shared.is_silent() && ops.is_silent() && dash.is_silent());
}

#[test]
fn a_response_topic_of_others_is_not_used() {
    let it = builder().start_ready();
    let ops = CoaClient::named(&it.broker, "ops");
    let others = CoaClient::on(&it.broker, "none", "symphony/response/dash");
    let devices = CoaClient::on(&it.broker, "none", "tenant/acme/device/pump-1/commands");
    let wrong = [
        "tenant/acme/device/pump-1/commands",
        "symphony/response/dash",
        "symphony/request/ops",
        "$SYS/a",
        "tenant/+/x",
        "#",
    ];
    let greeting = r#"{"route":"greetings"}"#;
    let reach_us = if checks_response_topics() { &wrong[..4] } else { &wrong[..] };
    for (count, topic) in (1_u32..).zip(reach_us) {
        let property = ["-V", "5", "-q", "1", "-D", "publish", "response-topic", topic];
        publish_once(
            it.broker.port(),
            "symphony/request/ops",
            &[&property[..], &["-m", greeting]].concat(),
        );
        assert_eq!(ops.receive().state, 200, "{topic}");
        it.daemon.wait_metric("sluice_api_bad_response_topics_total", count.into());
    }
    assert!((it.daemon.metric("sluice_api_connected") - 1.0).abs() < 0.1);
    let own =
        ["-V", "5", "-t", "symphony/request/ops", "-e", "symphony/response/ops/7", "-F", "%t"];
    let printed = request_once(it.broker.port(), &own, greeting);
    assert_eq!(printed.trim(), "symphony/response/ops/7");
    assert!(ops.is_silent() && others.is_silent() && devices.is_silent());
}

#[test]
fn a_change_that_arrives_again_is_made_once_and_names_its_author() {
    let it = builder().start_ready();
    let agent = CoaClient::named(&it.broker, "agent7");
    let add = |device: &str, id: Option<&str>| {
        let body = json!({ "device_id": device, "token": false });
        let mut request =
            json!({ "method": "POST", "route": "tenants/acme/devices", "body": body });
        if let Some(id) = id {
            request["metadata"] = json!({ "request-id": id });
        }
        request.to_string()
    };
    let request = add("pump-2", Some("a1"));
    agent.publish(std::iter::repeat_n(request.as_str(), 10));
    let replies: Vec<_> = (0..10).map(|_| agent.receive()).collect();
    assert_eq!(replies[0].state, 201, "{}", String::from_utf8_lossy(&replies[0].body));
    assert!(replies.iter().all(|reply| reply.text == replies[0].text));
    // Another name is another request, and so is one without a name.
    assert_eq!(agent.ask_text(&add("pump-2", Some("a2"))).state, 409);
    assert_eq!(agent.ask_text(&add("pump-2", None)).state, 409);
    let audit = "SELECT string_agg(actor || ' ' || action, ', ') FROM audit_log";
    assert_eq!(it.database.value(audit), "mqtt:agent7 device.add");

    // Correlation Data names a request, too. The rr clients get the same body.
    let rr = ["-V", "5", "-t", "symphony/request/agent7", "-e", "symphony/response/agent7/rr"];
    let rr = [&rr[..], &["-D", "publish", "correlation-data", "77"]].concat();
    let first = request_once(it.broker.port(), &rr, &add("pump-3", None));
    assert_eq!(request_once(it.broker.port(), &rr, &add("pump-3", None)), first);
    assert!(first.contains("\"state\":201"), "{first}");

    // The version of a document comes as `etag`, and goes back as `if-match`.
    let wish = |version: &str| {
        let metadata = json!({ "if-match": version });
        let request = json!({ "method": "PUT", "route": "devices/pump-1/shadow/desired", "body": { "rate": 5 },
            "metadata": metadata });
        agent.ask_text(&request.to_string())
    };
    let first = agent.ask("PUT", "devices/pump-1/shadow/desired", &json!({ "rate": 4 }));
    assert_eq!(first.state, 200, "{}", String::from_utf8_lossy(&first.body));
    let version = first.metadata["etag"].as_str().unwrap();
    assert_eq!(wish("\"99\"").state, 412);
    assert_eq!(wish(version).state, 200);
    assert_eq!(wish(version).state, 412, "it has a new version now");

    // A kill forgets the memory, not the change; the API is back with the daemon.
    it.daemon.kill9();
    it.daemon.start_again();
    it.daemon.wait_ready();
    assert_eq!(agent.ask_text(&request).state, 409);
    assert_eq!(it.database.value("SELECT count(*) FROM devices"), "3");
}

#[test]
fn new_secrets_stay_off_the_broker_unless_permitted() {
    let it = builder().authority(30).start_ready();
    let ops = CoaClient::named(&it.broker, "ops");
    let secret = [
        ("tenants/acme/devices/pump-1/token", Value::Null),
        ("tenants/acme/devices", json!({ "device_id": "pump-2" })),
        ("tenants/acme/devices/pump-1/certificates", json!({ "new_key": true })),
    ];
    for (route, body) in &secret {
        let detail = ops.ask("POST", route, body).detail(403, "forbidden");
        assert!(detail.contains("MQTT_API_SECRETS=1"), "{detail}");
    }
    // Fields without names, in the order of those of a struct.
    for (route, body) in [
        ("tenants/acme/devices/pump-1/certificates", json!([null, true, null])),
        ("tenants/acme/devices", json!(["pump-2"])),
        ("tenants/acme/devices", json!([false])),
    ] {
        let reply = ops.ask("POST", route, &body);
        assert!([400, 403].contains(&reply.state), "{route} {body}: {}", reply.text);
    }
    assert_eq!(it.database.value("SELECT count(*) FROM audit_log WHERE actor LIKE 'mqtt%'"), "0");
    let with_token = json!({
        "route": secret[0].0,
        "method": "POST",
        "metadata": { "authorization": format!("Bearer {TOKEN}") },
    });
    assert_eq!(ops.ask_text(&with_token.to_string()).state, 403, "the token changes nothing");
    it.daemon.terminate();
    let permitted = it.settings.clone().set("MQTT_API_SECRETS", "1").start();
    permitted.wait_ready();
    for (route, body) in &secret {
        assert_eq!(ops.ask("POST", route, body).state, 201, "{route}");
    }
    assert!(permitted.log().contains("MQTT_API_SECRETS=1: new tokens"), "a warning at the start");
}

#[test]
fn without_postgres_a_request_is_answered_soon_and_tried_again_later() {
    let database = crate::support::postgres::Postgres::shared().database();
    database.query(REGISTRY);
    let server = database.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::to(server.parse().unwrap());
    let it = TestDaemon::builder()
        .broker()
        .set("DATABASE_URL", &database.url_through(proxy.port()))
        .set("MQTT_API_CALLERS", "ops=admin")
        .start_ready();
    let ops = CoaClient::named(&it.broker, "ops");
    assert_eq!(ops.ask("GET", "tenants", &Value::Null).state, 200);
    for is_frozen in [true, false] {
        if is_frozen {
            proxy.hold(Direction::ToClient);
        } else {
            proxy.refuse();
        }
        let asked_at = Instant::now();
        let add = json!({
            "route": "tenants", "method": "POST", "body": { "tenant_id": format!("t-{is_frozen}") },
            "metadata": { "request-id": format!("add-{is_frozen}") },
        });
        let reply = ops.ask_text(&add.to_string());
        assert_eq!(reply.state, 503, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.metadata["retry-after"], "2");
        assert!(asked_at.elapsed().as_secs_f64() < 3.0, "{:?}", asked_at.elapsed());
        assert_eq!(ops.ask("GET", "greetings", &Value::Null).state, 200);
        if is_frozen {
            proxy.release(Direction::ToClient);
        } else {
            proxy.allow();
        }
        it.daemon.wait_ready();
        // The refusal is not remembered.
        crate::support::wait::until("the change is made", || {
            ops.ask_text(&add.to_string()).state == 201
        });
    }
}
