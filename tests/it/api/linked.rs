//! Links, what waits for them, and what they did not accept. No lane runs: its rows are written by SQL.

use serde_json::json;

use super::client::ApiDaemon;
use crate::support::wait;

pub const ROWS: &str = r#"
    INSERT INTO link_state (link) VALUES ('azure'), ('old') ON CONFLICT DO NOTHING;
    INSERT INTO link_counts (link, writer, messages, bytes) VALUES ('old', 'sluice', 0, 0);
    INSERT INTO link_status (link, lane, replica, state, since, detail, advice, published, sent_per_second, sent_since)
        VALUES ('azure', 0, 'sluice', 'up', now(), NULL, NULL, 5, 2.5, now() - interval '1 minute') ON CONFLICT DO NOTHING;
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

pub const FILE: &str = "[link.azure]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = 1\ntransport = \"tcp\"\n\
    client_id = \"gate-1\"\nauth = \"none\"\npublish = [{ from = \"tenant/acme/device/+/telemetry\", to = \"up/{device}\", \
    mode = \"raw\" }]\ningest = [{ filter = \"devices/+/in\", tenant = \"acme\", device = \"{2}\" }]\n";

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
    assert_eq!(shown["sent_per_second"], 2.5);
    let of_tenant = api.get("/tenants/acme/links").ok(200);
    assert_eq!((&of_tenant[0]["link"], &of_tenant[0]["refused"]), (&"azure".into(), &4.into()));
    assert_eq!(api.get("/tenants/other/links").ok(200), json!([]));
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
    let dry = json!({ "since": "210m", "until": "90m", "dry_run": true });
    let counted = api.post("/links/azure/refill", &dry).ok(200);
    assert_eq!((&counted["messages"], &counted["queued"]), (&2.into(), &false.into()));
    assert_eq!(api.database.value("SELECT count(*) FROM link_outbox"), "0", "a dry run");
    let queued = api.post("/links/azure/refill", &order).ok(200);
    assert_eq!((&queued["messages"], &queued["queued"]), (&2.into(), &true.into()));
    for field in ["bytes", "first", "last"] {
        assert!(queued[field] == counted[field] && !queued[field].is_null(), "{field}: {queued}");
    }
    let audited = "SELECT string_agg(action || ' ' || actor, ', ' ORDER BY id) FROM audit_log";
    assert_eq!(api.database.value(audited), "link.refill api, link.refill-done api");
    assert_eq!(api.post("/links/azure/refill", &json!({ "since": "2d" })).blamed(), "since");
    api.post("/links/none/refill", &order).problem(404, "not-found");
}

#[test]
fn a_link_that_the_file_no_longer_has_is_forgotten_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let api = api(&[("LINKS_PATH", file.path().to_str().unwrap())]);
    let forget = |path: &str| api.call("DELETE", &format!("/links/{path}"), None);
    assert!(forget("azure").detail(409, "conflict").contains("is in the links file"));
    forget("none").problem(404, "not-found");
    std::fs::write(file.path(), "").unwrap();
    assert!(forget("azure").detail(409, "conflict").contains("from its links file and reload it"));
    // The daemon has read the file, and its sender has ended.
    api.daemon.signal("HUP");
    wait::until("the link has ended", || forget("azure?dry_run=true").status == 200);
    assert_eq!(api.database.value("SELECT count(*) FROM link_refused"), "4", "a dry run");
    let gone = forget("azure").ok(200);
    assert_eq!((&gone["refused"], &gone["forgotten"]), (&4.into(), &true.into()));
    assert_eq!(api.get("/links").ok(200)[0]["link"], "old");
    forget("azure").problem(404, "not-found");
}

#[test]
fn a_message_is_explained_as_it_would_come_over_a_link() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let api = api(&[("LINKS_PATH", file.path().to_str().unwrap())]);
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1" })).ok(201);
    let node = api.database.value("SELECT node FROM link_node");
    let explain = |more: serde_json::Value| {
        let mut body = json!({ "topic": "devices/pump-1/in", "payload": r#"{"metrics":{"t":1}}"#, "link": "azure" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.post("/explain", &body)
    };
    let accepted = explain(json!({})).ok(200);
    assert_eq!((&accepted["accepted"], &accepted["device"]), (&true.into(), &"acme/pump-1".into()));
    assert!(accepted["why"].as_str().unwrap().contains("the link is authenticated"), "{accepted}");
    let refused = explain(json!({ "topic": "other" })).ok(200);
    assert_eq!(refused["reason"], "BAD_TOPIC_FORMAT");
    let event =
        |source: &str| json!({ "specversion": "1.0", "id": "1", "source": source, "type": "t" });
    let mut own = event("/a");
    own["sluicenode"] = node.into();
    let dropped = explain(json!({ "properties": own, "content_type": "application/json" })).ok(200);
    assert!(dropped["why"].as_str().unwrap().contains("has passed this installation"), "{dropped}");
    let broken = explain(json!({ "properties": event("") })).ok(200);
    assert_eq!(broken["reason"], "BAD_PAYLOAD", "{broken}");
    explain(json!({ "link": "none" })).problem(404, "not-found");
    let body = json!({ "topic": "a", "payload": "", "content_type": "text/plain" });
    assert_eq!(api.post("/explain", &body).blamed(), "link");
}
