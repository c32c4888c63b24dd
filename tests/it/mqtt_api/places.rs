//! A request that is refused takes nothing from those that are answered.

use std::time::Instant;

use serde_json::Value;

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
