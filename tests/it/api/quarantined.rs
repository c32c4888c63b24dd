//! Refused messages and the explanation of a refusal.

use serde_json::json;

use super::client::ApiDaemon;

const EVENTS: &str = "INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type,
        reason, detail, payload, token_sha256, message_id)
    SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now() - n * interval '1 minute', now() - n * interval '1 minute',
        topic, tenant, device, 'telemetry', reason, 'because', payload, token, ('00000000-0000-0000-0000-0000000000f' || n)::uuid
    FROM (VALUES (1, 'tenant/acme/device/a/telemetry', 'acme', 'a', 'UNREGISTERED_DEVICE', '{\"metrics\":{\"t\":1}}'::bytea, repeat('ab', 32)),
        (2, 'tenant/acme/device/b/telemetry', 'acme', 'b', 'BAD_PAYLOAD', 'no json', NULL),
        (3, 'odd', NULL, NULL, 'BAD_TOPIC_FORMAT', '{}', NULL),
        (4, 'tenant/zeta/device/z/telemetry', 'zeta', 'z', 'BAD_PAYLOAD', '\\xff00', NULL))
    v (n, topic, tenant, device, reason, payload, token);
    UPDATE quarantine_events SET link = 'azure' WHERE detail = 'because' AND payload = 'no json'";

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}

fn listed(api: &ApiDaemon, query: &str, limit: usize) -> String {
    let events = api.walk(&format!("/quarantine{query}"), limit);
    events.iter().filter_map(|event| event["id"].as_str()?.chars().last()).collect()
}

/// Without a token a registered device is authenticated here, so that a replay has something to accept.
fn api() -> ApiDaemon {
    let api = ApiDaemon::with(&[("REQUIRE_TOKEN", "0")]);
    crate::support::wait::until("the schema is there", || api.get("/tenants").status == 200);
    api.database.query(EVENTS);
    api
}

#[test]
fn refusals_are_listed_by_every_filter_and_shown_without_their_token() {
    let api = api();
    for limit in [1, 3, 4, 5] {
        assert_eq!(listed(&api, "", limit), "1234");
    }
    for (query, expected) in [
        ("?tenant=acme", "12"),
        ("?tenant=acme&device=b", "2"),
        ("?reason=BAD_PAYLOAD", "24"),
        ("?replayed=true", ""),
        ("?link=azure", "2"),
        ("?link=aws", ""),
        ("?replayed=false&since=2020-01-01T00:00:00Z", "1234"),
        ("?until=2020-01-01T00:00:00Z", ""),
        ("?since=150s", "12"),
        ("?since=1d&until=150s", "34"),
    ] {
        assert_eq!(listed(&api, query, 2), expected, "{query}");
    }
    let shown = api.get(&format!("/quarantine/{}", id(1))).ok(200);
    assert_eq!(
        (&shown["payload"], &shown["token_present"]),
        (&r#"{"metrics":{"t":1}}"#.into(), &true.into())
    );
    assert!(!shown.to_string().contains("abababab"), "{shown}");
    assert_eq!(api.get(&format!("/quarantine/{}", id(4))).ok(200)["payload_hex"], "ff00");
    api.get(&format!("/quarantine/{}", id(9))).problem(404, "not-found");
    for (query, field) in [
        ("/7", "id"),
        ("?reason=UGLY", "reason"),
        ("?since=2x", "since"),
        ("?cursor=1", "cursor"),
        ("?link=A", "link"),
    ] {
        assert_eq!(api.get(&format!("/quarantine{query}")).blamed(), field, "{query}");
    }
}

#[test]
fn a_replay_stores_once_what_is_accepted_now_and_leaves_the_rest() {
    let api = api();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "a" })).ok(201);
    let results = |body| {
        let replayed = api.post("/quarantine/replay", &body).ok(200);
        let items = replayed["items"].as_array().unwrap().iter();
        items.map(|item| item["result"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        results(json!({ "tenant": "acme", "dry_run": true })),
        ["refused", "would be stored"]
    );
    assert_eq!(api.database.value("SELECT count(*) FROM telemetry"), "0");
    assert_eq!(results(json!({ "tenant": "acme" })), ["refused", "stored"]);
    assert_eq!(results(json!({ "ids": [id(1)] })), ["replayed before"]);
    assert_eq!(api.database.value("SELECT metrics FROM telemetry"), r#"{"t": 1}"#);
    assert_eq!(listed(&api, "?replayed=true", 9), "1");
    let audited =
        api.database.query("SELECT actor FROM audit_log WHERE action = 'quarantine.replay'");
    assert_eq!(audited, [["api"]]);
    for body in [json!({}), json!({ "all": true, "tenant": "acme" })] {
        assert_eq!(api.post("/quarantine/replay", &body).blamed(), "all");
    }
    assert_eq!(api.post("/quarantine/replay", &json!({ "ids": ["x"] })).blamed(), "ids[0]");
}

#[test]
fn a_replay_is_counted_once_by_the_metrics_of_the_daemon() {
    let api = api();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "a" })).ok(201);
    let replay = |body| api.post("/quarantine/replay", &body).ok(200);
    let counted = || {
        ["stored", "duplicate", "ignored", "quarantined"]
            .map(|result| format!("sluice_messages_total{{result=\"{result}\"}}"))
            .map(|series| api.daemon.metric(&series).to_string())
    };
    replay(json!({ "tenant": "acme", "dry_run": true }));
    assert_eq!(counted(), ["0"; 4], "a dry run is not counted");
    replay(json!({ "tenant": "acme" }));
    assert_eq!(counted(), ["1", "0", "0", "0"], "a message refused again was counted before");
    replay(json!({ "ids": [id(1)] }));
    assert_eq!(counted(), ["1", "0", "0", "0"], "a message replayed before is not replayed");
    api.database.query("UPDATE quarantine_events SET replayed_at = NULL");
    replay(json!({ "ids": [id(1)] }));
    assert_eq!(counted(), ["1", "1", "0", "0"], "a row that exists is a duplicate");
    for series in ["sluice_auth_cache_misses", "sluice_auth_cache_entries"] {
        assert!(api.daemon.metric(series) < 1.0, "the cache of a replay is not the daemon's");
    }
}

#[test]
fn refusals_are_discarded_only_when_meant() {
    let api = api();
    let bad = json!({ "reason": "BAD_PAYLOAD", "dry_run": true });
    assert_eq!(
        api.post("/quarantine/discard", &bad).ok(200),
        json!({ "events": 2, "discarded": false })
    );
    assert_eq!(api.post("/quarantine/discard", &json!({})).blamed(), "all");
    assert_eq!(listed(&api, "", 9), "1234");
    assert_eq!(
        api.post("/quarantine/discard", &json!({ "reason": "BAD_PAYLOAD" })).ok(200)["events"],
        2
    );
    api.call("DELETE", &format!("/quarantine/{}", id(3)), None).ok(200);
    api.call("DELETE", &format!("/quarantine/{}", id(3)), None).problem(404, "not-found");
    assert_eq!(api.call("DELETE", "/quarantine/x", None).blamed(), "id");
    assert_eq!(listed(&api, "", 9), "1");
    api.post("/quarantine/discard", &json!({ "all": true })).ok(200);
    assert_eq!(listed(&api, "", 9), "");
}

#[test]
fn a_message_is_explained_check_by_check() {
    let api = api();
    let message =
        json!({ "topic": "tenant/acme/device/a/telemetry", "payload": "{\"metrics\":{}}" });
    let explained = api.post("/explain", &message).ok(200);
    assert_eq!(
        (&explained["accepted"], &explained["reason"]),
        (&false.into(), &"UNREGISTERED_DEVICE".into())
    );
    assert_eq!(explained["checks"].as_array().unwrap().len(), 20);
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "a" })).ok(201);
    assert_eq!(api.post("/explain", &message).ok(200)["accepted"], true);
    assert_eq!(api.post("/explain", &json!({ "topic": 7, "payload": "" })).blamed(), "topic");
}
