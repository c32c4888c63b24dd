//! Shadows over the API: what is desired, for which version, what a device lacks of it, and what
//! becomes of both when the device is removed.

use std::thread;

use serde_json::{Value, json};

use super::client::{Answer, ApiDaemon, TOKEN};

const SHADOW: &str = "/tenants/acme/devices/pump-1/shadow";
const DESIRED: &str = "/tenants/acme/devices/pump-1/shadow/desired";

fn api() -> ApiDaemon {
    let api = ApiDaemon::start();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1", "token": false })).ok(201);
    api
}

/// Changes the desired document with a condition.
fn change(api: &ApiDaemon, method: &str, condition: &str, body: Option<&str>) -> Answer {
    let kind = body.map(|_| "Content-Type: application/json\r\n").unwrap_or_default();
    let headers =
        format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{kind}{condition}\r\n");
    let headers = headers.replace("\r\n\r\n", "\r\n");
    let body = body.unwrap_or_default().as_bytes();
    api.send(method, &format!("/api/v1{DESIRED}"), &headers, body)
}

fn report(api: &ApiDaemon, document: &str) {
    api.database.query(&format!(
        "UPDATE device_state SET reported = '{document}', reported_version = 999999, reported_at = now()"
    ));
}

#[test]
fn a_desired_document_lives_from_put_to_delete_with_a_version_for_each_change() {
    let api = api();
    let first = api.get(SHADOW).ok(200);
    assert_eq!((&first["desired"], &first["desired_version"]), (&Value::Null, &0.into()));
    assert_eq!((&first["in_sync"], &first["delta"]), (&true.into(), &json!({})));

    let set = api.call("PUT", DESIRED, Some(&json!({ "rate": 5, "net": { "a": 1, "b": [1, 2] } })));
    assert!(set.head.contains("etag: \"1\""), "{}", set.head);
    let set = set.ok(200);
    assert_eq!((&set["desired_version"], &set["in_sync"]), (&1.into(), &false.into()));
    assert!(set["desired_at"].is_string(), "{set}");
    report(&api, r#"{"rate": 5, "net": {"a": 1, "b": [1]}, "own": true}"#);
    let shown = api.get(SHADOW);
    assert!(shown.head.contains("etag: \"1\""), "{}", shown.head);
    let shown = shown.ok(200);
    assert_eq!(shown["delta"], json!({ "net": { "b": [1, 2] } }), "{shown}");
    assert_eq!((&shown["in_sync"], &shown["reported_version"]), (&false.into(), &999_999.into()));

    let patched = api.call("PATCH", DESIRED, Some(&json!({ "net": { "b": null, "c": 2.50 } })));
    let patched = patched.ok(200);
    assert_eq!(patched["desired"], json!({ "rate": 5, "net": { "a": 1, "c": 2.5 } }));
    assert_eq!(
        (&patched["desired_version"], &patched["delta"]["net"]["c"]),
        (&2.into(), &json!(2.5))
    );
    report(&api, r#"{"rate": 5.0, "net": {"a": 1, "c": 2.5000}}"#);
    assert_eq!(api.get(SHADOW).ok(200)["in_sync"], true, "numbers are equal by value");
    // Equal content is no change.
    assert_eq!(api.call("PATCH", DESIRED, Some(&json!({}))).ok(200)["desired_version"], 2);

    let cleared = api.call("DELETE", DESIRED, None);
    assert!(cleared.head.contains("etag: \"3\""), "{}", cleared.head);
    assert_eq!(cleared.ok(200)["desired"], Value::Null);
    assert_eq!(api.call("DELETE", DESIRED, None).ok(200)["desired_version"], 3);
    let audited =
        "SELECT action, detail ->> 'from', detail ->> 'to', detail ->> 'desired' FROM audit_log
        WHERE action LIKE 'shadow.%' ORDER BY id";
    let rows = api.database.query(audited);
    assert_eq!(rows[2], ["shadow.clear", "2", "3", "NULL"], "{rows:?}");
    assert_eq!(rows[1][..3], ["shadow.patch", "1", "2"], "{rows:?}");
    assert!(rows.len() == 3 && rows[0][3].contains("rate"), "{rows:?}");
}

#[test]
fn a_change_for_another_version_is_refused_and_of_racing_changes_none_is_lost() {
    let api = api();
    change(&api, "PUT", "If-Match: *", Some("{}")).problem(412, "version");
    change(&api, "PUT", "If-Match: \"1\"", Some("{}")).problem(412, "version");
    change(&api, "PUT", "If-None-Match: *", Some(r#"{"n":0}"#)).ok(200);
    change(&api, "PUT", "If-None-Match: *", Some(r#"{"n":0}"#)).problem(412, "version");
    for condition in ["If-Match: \"0\"", "If-Match: \"2\""] {
        for (method, body) in [("PUT", Some("{}")), ("PATCH", Some("{}")), ("DELETE", None)] {
            let answer = change(&api, method, condition, body);
            assert!(answer.detail(412, "version").contains("has version 1"), "{method}");
        }
    }
    for condition in ["If-Match: \"x\"", "If-Match: W/\"1\"", "If-None-Match: \"1\""] {
        change(&api, "PUT", condition, Some("{}")).problem(400, "bad-request");
    }
    change(&api, "PUT", "If-Match: \"1\"", Some(r#"{"n":1}"#)).ok(200);
    change(&api, "DELETE", "If-Match: *", None).ok(200);
    change(&api, "PUT", "If-Match: \"3\"", Some(r#"{"n":0}"#)).ok(200);

    // Each of these adds a member of its own; with a version only one of each round wins.
    thread::scope(|scope| {
        for worker in 0..4 {
            let api = &api;
            scope.spawn(move || {
                for number in 0..5 {
                    let patch = json!({ format!("w{worker}-{number}"): true });
                    api.call("PATCH", DESIRED, Some(&patch)).ok(200);
                }
            });
        }
    });
    let shown = api.get(SHADOW).ok(200);
    assert_eq!(shown["desired"].as_object().unwrap().len(), 21, "{shown}");
    assert_eq!(shown["desired_version"], 24);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let api = &api;
        let body = |n: usize| format!("{{\"n\":{}}}", n + 100);
        let calls: Vec<_> = (0..6)
            .map(|n| {
                scope.spawn(move || change(api, "PUT", "If-Match: \"24\"", Some(&body(n))).status)
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 5, "{statuses:?}");
    assert_eq!(api.get(SHADOW).ok(200)["desired_version"], 25);
}

#[test]
fn an_answer_has_the_version_of_its_own_change_also_if_another_follows_at_once() {
    let api = api();
    // The change by B is made at the commit of the one by A.
    api.database.query(
        "CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN UPDATE device_state SET desired = '{\"by\": \"B\"}'; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER follow AFTER INSERT OR UPDATE ON device_state DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW WHEN (NEW.desired ->> 'by' = 'A') EXECUTE FUNCTION follow()",
    );
    for (method, version) in [("PUT", 1), ("PATCH", 3)] {
        let answer = api.call(method, DESIRED, Some(&json!({ "by": "A" })));
        assert!(answer.head.contains(&format!("etag: \"{version}\"")), "{}", answer.head);
        let answer = answer.ok(200);
        assert_eq!(answer["desired_version"], version, "{method}");
        assert_eq!(
            (&answer["desired"], &answer["delta"]["by"]),
            (&json!({ "by": "A" }), &"A".into())
        );
        let condition = format!("If-Match: \"{version}\"");
        change(&api, "PUT", &condition, Some("{}")).problem(412, "version");
        assert_eq!(api.get(SHADOW).ok(200)["desired"], json!({ "by": "B" }), "{method}");
    }
}

#[test]
fn a_document_keeps_to_its_bounds_and_an_unknown_device_has_none() {
    let api = api();
    let put = |text: &str| change(&api, "PUT", "", Some(text));
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    put("").problem(400, "bad-request");
    put("{").problem(400, "bad-request");
    put("[1]").problem(422, "refused");
    put("null").problem(422, "refused");
    put(r#"{"a":"\u0000"}"#).problem(422, "refused");
    put(&nested(9)).problem(422, "refused");
    // What Postgres has no place for is an error of the document, not of Postgres.
    put(r#"{"a":1e-20000}"#).problem(422, "refused");
    put(r#"{"a":"\u0000","a":1}"#).problem(422, "refused");
    // A number is stored with all its digits.
    let long = format!(r#"{{"a":[{}]}}"#, vec!["1e308"; 1300].join(","));
    assert!(put(&long).detail(413, "too-large").contains("as Postgres stores it"));
    put(&nested(8)).ok(200);
    let of_size = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(put(&of_size(8193)).detail(413, "too-large").contains("SHADOW_MAX_BYTES"));
    put(&of_size(8192)).ok(200);
    // A patch within the bounds may not make a document beyond them.
    let patch = change(&api, "PATCH", "", Some(r#"{"b":1}"#));
    patch.problem(413, "too-large");
    put(&nested(8)).ok(200);
    let deeper = format!(r#"{{"a":{{"a":{}}}}}"#, nested(6));
    change(&api, "PATCH", "", Some(&deeper)).ok(200);
    assert_eq!(api.get(SHADOW).ok(200)["desired_version"], 3, "the patch changed nothing");
    let headers = format!("Host: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    let merge = format!("{headers}Content-Type: application/merge-patch+json\r\n");
    api.send("PATCH", &format!("/api/v1{DESIRED}"), &merge, b"{\"b\":1}").ok(200);
    api.send("PUT", &format!("/api/v1{DESIRED}"), &headers, b"{}")
        .problem(415, "unsupported-media-type");

    let nobody = "/tenants/acme/devices/nobody/shadow";
    assert!(api.get(nobody).detail(404, "not-found").contains("nobody"));
    let desired = format!("{nobody}/desired");
    api.call("PUT", &desired, Some(&json!({}))).problem(404, "not-found");
    api.call("DELETE", &desired, None).problem(404, "not-found");
    // Numbers that plain SQL wrote stay exact.
    api.database
        .query("UPDATE device_state SET desired = '{\"n\": 12345678901234567890.123456789}'");
    let patched = change(&api, "PATCH", "", Some(r#"{"b":1}"#));
    let text = String::from_utf8(patched.body).unwrap();
    assert!(text.contains("12345678901234567890.123456789"), "{text}");
}

#[test]
fn a_removed_device_leaves_no_wish_and_no_command_to_its_successor() {
    let api = api();
    api.call("PUT", DESIRED, Some(&json!({ "rate": 5 }))).ok(200);
    report(&api, r#"{"rate": 5}"#);
    api.database.query("UPDATE device_state SET last_seen_at = now(), last_telemetry_at = now()");
    api.post("/tenants/acme/devices/pump-1/commands", &json!({ "command_type": "reboot" })).ok(201);
    let pushed = "SELECT payload ->> 'version', payload -> 'desired' ->> 'rate' FROM device_pushes WHERE kind = 'desired'";
    assert_eq!(api.database.query(pushed), [["1", "5"]]);
    api.call("DELETE", "/tenants/acme/devices/pump-1", None).ok(200);
    let cleared = "SELECT payload IS NULL AND dirty_since IS NOT NULL FROM device_pushes WHERE kind = 'desired'";
    assert_eq!(api.database.value(cleared), "t", "the retained message is to be removed");
    api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1", "token": false })).ok(201);
    let shown = api.get(SHADOW).ok(200);
    // A version names one document, whichever device of that name had it.
    assert_eq!((&shown["desired"], &shown["desired_version"]), (&Value::Null, &2.into()));
    for field in ["desired_at", "reported", "reported_version", "reported_at"] {
        assert_eq!(shown[field], Value::Null, "{shown}");
    }
    let device = api.get("/tenants/acme/devices/pump-1").ok(200);
    assert_eq!(
        (&device["last_seen_at"], &device["last_telemetry_at"]),
        (&Value::Null, &Value::Null)
    );
    assert!(api.walk("/tenants/acme/devices/pump-1/commands", 10).is_empty());
    change(&api, "PUT", "If-Match: \"1\"", Some("{}")).problem(412, "version");
    change(&api, "PUT", "If-None-Match: *", Some(r#"{"rate":6}"#)).ok(200);
    assert_eq!(api.database.query(pushed), [["3", "6"]]);
}

#[test]
fn devices_that_are_not_in_sync_are_listed_in_pages() {
    let api = api();
    api.database.query(
        "INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'd' || n FROM generate_series(1, 9) n;
         INSERT INTO device_state (tenant_id, device_id, desired, reported)
         SELECT 'acme', 'd' || n, '{\"a\": 1}', CASE n % 3 WHEN 0 THEN '{\"a\": 1}' WHEN 1 THEN '{\"a\": 2}' END::jsonb
         FROM generate_series(1, 9) n",
    );
    let names = |query: &str, limit| -> Vec<String> {
        let rows = api.walk(&format!("/tenants/acme/shadows{query}"), limit);
        rows.iter().map(|row| row["device_id"].as_str().unwrap().to_owned()).collect()
    };
    for limit in [1, 4, 100] {
        let behind = names("?in_sync=false", limit);
        assert_eq!(behind, ["d1", "d2", "d4", "d5", "d7", "d8"], "{limit}");
        assert_eq!(names("?in_sync=true", limit), ["d3", "d6", "d9", "pump-1"], "{limit}");
        assert_eq!(names("", limit).len(), 10, "{limit}");
    }
    assert_eq!(api.get("/tenants/acme/shadows?in_sync=maybe").blamed(), "in_sync");

    // One page compares some devices of a large tenant, and the next one goes on from there.
    api.database.query(
        "INSERT INTO devices (tenant_id, device_id) SELECT 'acme', 'e' || n FROM generate_series(10001, 12100) n;
         INSERT INTO device_state (tenant_id, device_id, desired) VALUES ('acme', 'e12100', '{\"a\": 1}')",
    );
    let page = api.get("/tenants/acme/shadows?in_sync=false&cursor=e1&limit=10").ok(200);
    assert_eq!((&page["items"], &page["next"]), (&json!([]), &"e11000".into()));
    assert_eq!(names("?in_sync=false", 4).last().map(String::as_str), Some("e12100"));
    assert_eq!(names("?in_sync=false", 4).len(), 7);
}
