//! A request that is refused takes nothing from those that are answered.

use std::time::Instant;

use serde_json::{Value, json};

use super::coa_client::CoaClient;
use crate::faults::lock::Lock;
use crate::support::test_daemon::TestDaemon;

/// Requests of the API that run at a time.
const PERMITS: usize = 4;

#[test]
fn a_refusal_does_not_wait_for_the_requests_that_run() {
    let it = TestDaemon::builder()
        .broker()
        .registry("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')")
        .set("MQTT_API_REQUEST_TOPIC", "coa-request")
        .set("MQTT_API_RESPONSE_TOPIC", "coa-response")
        .set("MQTT_API_CALLERS", "ops=admin,dash=viewer@acme")
        .start_ready();
    let ops = CoaClient::named(&it.broker, "ops");
    let dash = CoaClient::named(&it.broker, "dash");
    let shared = CoaClient::on(&it.broker, "coa-request", "coa-response");
    let lock = Lock::against_readers(&it.database, "tenants");
    ops.publish([r#"{"route":"tenants"}"#; 6]);
    let stuck = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
        wait_event_type = 'Lock' AND query LIKE '%FROM tenants%'";
    it.database.wait_until(stuck, &PERMITS.to_string());
    let asked_at = Instant::now();
    assert_eq!(dash.ask("GET", "tenants", &Value::Null).state, 403);
    assert_eq!(dash.ask("GET", "tenants/other", &Value::Null).state, 403);
    assert_eq!(shared.ask("GET", "tenants", &Value::Null).state, 401);
    assert_eq!(it.database.value(stuck), PERMITS.to_string(), "after {:?}", asked_at.elapsed());
    assert!(ops.is_silent());
    drop(lock);
    for _ in 0..6 {
        assert_eq!(ops.receive().state, 200);
    }
}

#[test]
fn a_client_without_a_proof_takes_no_place_among_remembered_responses() {
    const TOKEN: &str = "the-admin-token-of-this-test";
    let it = TestDaemon::builder()
        .broker()
        .registry("INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')")
        .set("ADMIN_TOKEN", TOKEN)
        .set("MQTT_API_REQUEST_TOPIC", "coa-request")
        .set("MQTT_API_RESPONSE_TOPIC", "coa-response")
        .start_ready();
    let shared = CoaClient::on(&it.broker, "coa-request", "coa-response");
    let add = json!({
        "route": "tenants/acme/devices", "method": "POST", "body": { "device_id": "p", "token": false },
        "metadata": { "authorization": format!("Bearer {TOKEN}"), "request-id": "first" },
    });
    let first = shared.ask_text(&add.to_string());
    assert_eq!(first.state, 201, "{}", first.text);
    // More than are remembered, without a token and with a wrong one.
    let tokens = [json!({}), json!({ "authorization": "Bearer wrong" })];
    let flood: Vec<Value> = (0..1_100)
        .map(|number| json!({ "route": "tenants", "method": "POST", "metadata": tokens[number % 2] }))
        .collect();
    for reply in shared.ask_all(&flood) {
        assert!([401, 429].contains(&reply.state), "{}", reply.text);
    }
    assert_eq!(shared.ask_text(&add.to_string()).text, first.text);
}

#[test]
fn the_response_to_a_change_may_be_large() {
    let it = TestDaemon::builder()
        .broker()
        .registry(
            "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
            INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type,
                    reason, detail, payload, message_id)
                SELECT gen_random_uuid(), now(), now(), 'tenant/acme/device/d/telemetry', 'acme', 'd', 'telemetry',
                    'BAD_PAYLOAD', 'x', 'no json', gen_random_uuid()
                FROM generate_series(1, 500)",
        )
        .set("MQTT_API_CALLERS", "ops=admin")
        .start_ready();
    let ops = CoaClient::named(&it.broker, "ops");
    let reply = ops.ask("POST", "quarantine/replay", &json!({ "tenant": "acme", "dry_run": true }));
    assert_eq!(reply.ok(200)["items"].as_array().unwrap().len(), 500);
    assert!(reply.body.len() > 64 * 1024, "{}", reply.body.len());
}
