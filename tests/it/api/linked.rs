//! Links, what waits for them, and what they did not accept. No lane runs: its rows are written by SQL.

use serde_json::json;

use super::client::ApiDaemon;
use crate::support::wait;

pub(super) const ROWS: &str = r#"
    INSERT INTO link_state (link) VALUES ('azure') ON CONFLICT DO NOTHING;
    INSERT INTO link_status (link, lane, replica, state, since, detail, advice, published)
        VALUES ('azure', 0, 'sluice', 'up', now(), NULL, NULL, 5) ON CONFLICT DO NOTHING;
    INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at,
            message_id, queued_at, reason, code, detail, refused_at)
        SELECT 'azure', n, 0, 'acme', 'pump-' || n, 'telemetry', 'devices/' || n, 'raw',
            CASE WHEN n = 4 THEN '\xff00'::bytea ELSE convert_to('{"n":' || n || '}', 'UTF8') END, now(), now(),
            gen_random_uuid(), now(), CASE WHEN n = 1 THEN 'TOO_LARGE' ELSE 'NOT_AUTHORIZED' END, 135, 'no',
            now() - n * interval '1 hour'
        FROM generate_series(1, 4) AS n;
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, message_id)
        SELECT now() - n * interval '1 hour', now() - n * interval '1 hour', 'acme', 'pump-1', 'telemetry', '{"t":1}',
            gen_random_uuid() FROM generate_series(1, 4) AS n;
"#;

pub(super) const FILE: &str = "[link.azure]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = 1\ntransport = \"tcp\"\n\
    client_id = \"gate-1\"\nauth = \"none\"\npublish = [{ from = \"tenant/acme/device/+/telemetry\", to = \"up/{device}\", \
    mode = \"raw\" }]\n";

fn api(settings: &[(&str, &str)]) -> ApiDaemon {
    let api = ApiDaemon::with(settings);
    wait::until("the schema is there", || api.get("/tenants").status == 200);
    api.database.query(ROWS);
    api
}

#[test]
fn links_are_listed_and_shown_with_their_lanes() {
    let api = api(&[]);
    let listed = api.get("/links").ok(200);
    assert_eq!((&listed[0]["link"], &listed[0]["state"]), (&"azure".into(), &"up".into()));
    let shown = api.get("/links/azure").ok(200);
    assert_eq!(shown, listed[0]);
    assert_eq!((&shown["refused"], &shown["lanes"][0]["published"]), (&4.into(), &5.into()));
    api.get("/links/none").problem(404, "not-found");
    assert_eq!(api.get("/links/NONE").blamed(), "name");
}

#[test]
fn refused_messages_are_listed_shown_retried_and_deleted() {
    let api = api(&[]);
    let ids = |query: &str| -> Vec<i64> {
        let rows = api.walk(&format!("/links/azure/refused{query}"), 2);
        rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(""), [1, 2, 3, 4]);
    assert_eq!(ids("?reason=NOT_AUTHORIZED&since=210m"), [2, 3]);
    assert_eq!(ids("?tenant=acme&device=pump-4"), [4]);
    assert_eq!(api.get("/links/azure/refused?reason=odd").blamed(), "reason");
    let shown = api.get("/links/azure/refused/2").ok(200);
    assert_eq!((&shown["payload"], &shown["code"]), (&r#"{"n":2}"#.into(), &135.into()));
    assert_eq!(api.get("/links/azure/refused/4").ok(200)["payload_hex"], "ff00");
    api.get("/links/azure/refused/9").problem(404, "not-found");

    let retry = |body| api.post("/links/azure/refused/retry", &body);
    assert_eq!(retry(json!({})).blamed(), "all");
    assert_eq!(retry(json!({ "all": true, "tenant": "acme" })).blamed(), "all");
    let counted = retry(json!({ "all": true, "dry_run": true })).ok(200);
    assert_eq!(counted, json!({ "messages": 4, "queued": false }));
    let retried = retry(json!({ "reason": "NOT_AUTHORIZED", "until": "150m" })).ok(200);
    assert_eq!(retried, json!({ "messages": 2, "queued": true }));
    assert_eq!(api.database.value("SELECT count(*) FROM link_outbox"), "2");
    let gone = api.call("DELETE", "/links/azure/refused/2", None).ok(200);
    assert_eq!(gone, json!({ "messages": 1 }));
    api.call("DELETE", "/links/azure/refused/2", None).problem(404, "not-found");
    assert_eq!(ids(""), [1]);
    let actors = "SELECT string_agg(DISTINCT actor, ',') FROM audit_log WHERE action LIKE 'link.%'";
    assert_eq!(api.database.value(actors), "api");
}

#[test]
fn a_period_is_queued_again_by_the_rules_of_the_file() {
    let without = api(&[]);
    let order = json!({ "since": "210m", "until": "90m" });
    without.post("/links/azure/refill", &order).problem(503, "not-set-up");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let api = api(&[("LINKS_PATH", file.path().to_str().unwrap())]);
    let queued = api.post("/links/azure/refill", &order).ok(200);
    assert_eq!(queued, json!({ "messages": 2, "queued": true }));
    assert_eq!(api.post("/links/azure/refill", &json!({ "since": "2d" })).blamed(), "since");
    api.post("/links/none/refill", &order).problem(404, "not-found");
}
