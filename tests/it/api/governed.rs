//! Tenants and devices: every way to add, find, change and remove them, and every way not to.

use serde_json::{Value, json};

use super::client::ApiDaemon;

fn names(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tenant_lives_from_add_to_remove_and_each_step_is_audited_as_the_api() {
    let api = ApiDaemon::start();
    let added = api.post("/tenants", &json!({ "tenant_id": "acme", "name": "Acme Pumps" })).ok(201);
    assert_eq!(
        (&added["name"], &added["status"], &added["devices"]),
        (&"Acme Pumps".into(), &"ACTIVE".into(), &0.into())
    );
    api.post("/tenants", &json!({ "tenant_id": "acme" })).problem(409, "conflict");
    let suspended =
        api.call("PATCH", "/tenants/acme", Some(&json!({ "status": "SUSPENDED" }))).ok(200);
    assert_eq!(suspended["status"], "SUSPENDED");
    assert_eq!(api.get("/tenants/acme").ok(200)["status"], "SUSPENDED");
    api.post("/tenants/acme/devices", &json!({ "device_id": "x", "token": false })).ok(201);
    api.call("DELETE", "/tenants/acme", None).problem(409, "conflict");
    api.call("DELETE", "/tenants/acme/devices/x", None).ok(200);
    assert_eq!(api.call("DELETE", "/tenants/acme", None).ok(200)["tenant_id"], "acme");
    for method in ["GET", "DELETE"] {
        api.call(method, "/tenants/acme", None).problem(404, "not-found");
    }
    api.call("PATCH", "/tenants/acme", Some(&json!({ "status": "ACTIVE" })))
        .problem(404, "not-found");
    let audited =
        "SELECT string_agg(action, ' ' ORDER BY id), min(actor), max(actor) FROM audit_log";
    let steps = "tenant.add tenant.set-status device.add device.remove tenant.remove";
    assert_eq!(api.database.query(audited), [[steps, "api", "api"]]);
}

#[test]
fn a_device_lives_from_add_to_remove_and_its_token_is_shown_once() {
    let api = ApiDaemon::start();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    let body = json!({ "device_id": "pump-1", "site_id": "north", "metadata": { "model": "P7" } });
    let added = api.post("/tenants/acme/devices", &body).ok(201);
    let first = added["token"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 64);
    api.post("/tenants/acme/devices", &body).problem(409, "conflict");
    api.post("/tenants/nobody/devices", &body).problem(404, "not-found");

    let path = "/tenants/acme/devices/pump-1";
    let shown = api.get(path).ok(200);
    assert_eq!(
        (&shown["site_id"], &shown["has_token"], &shown["metadata"]["model"]),
        (&"north".into(), &true.into(), &"P7".into())
    );
    assert!(!shown.to_string().contains(&first));
    let hash = || api.database.value("SELECT coalesce(provision_token_hash, 'none') FROM devices");
    assert_eq!(hash(), crate::pipeline::fixture::sha256(&first));
    let second = api.call("POST", &format!("{path}/token"), None).ok(201);
    assert_eq!(hash(), crate::pipeline::fixture::sha256(second["token"].as_str().unwrap()));
    api.call("DELETE", &format!("{path}/token"), None).ok(200);
    assert_eq!(hash(), "none");

    let silenced = api.call("PATCH", path, Some(&json!({ "status": "INACTIVE" }))).ok(200);
    assert_eq!(silenced["status"], "INACTIVE");
    assert_eq!(api.call("DELETE", path, None).ok(200)["certificates_revoked"], 0);
    for method in ["GET", "DELETE"] {
        api.call(method, path, None).problem(404, "not-found");
    }
    api.call("PATCH", path, Some(&json!({ "status": "ACTIVE" }))).problem(404, "not-found");
    for method in ["POST", "DELETE"] {
        api.call(method, &format!("{path}/token"), None).problem(404, "not-found");
    }
}

#[test]
fn bad_input_is_blamed_on_its_field_and_stores_nothing() {
    let api = ApiDaemon::start();
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    for (path, body, field) in [
        ("/tenants", json!({ "tenant_id": "a+b" }), "tenant_id"),
        ("/tenants", json!({ "tenant_id": "b", "name": "a\u{0}b" }), "name"),
        ("/tenants", json!({ "tenant_id": "b", "colour": "red" }), "colour"),
        ("/tenants/acme/devices", json!({ "device_id": "a/b" }), "device_id"),
        ("/tenants/acme/devices", json!({ "device_id": "x".repeat(65) }), "device_id"),
        ("/tenants/acme/devices", json!({ "device_id": "x", "status": "GONE" }), "status"),
        ("/tenants/acme/devices", json!({ "device_id": "x", "site_id": "" }), "site_id"),
        (
            "/tenants/acme/devices",
            json!({ "device_id": "x", "metadata": { "a": "\u{0}" } }),
            "metadata",
        ),
        ("/tenants/acme/devices", json!({ "device_id": "x", "metadata": [] }), "metadata"),
        ("/tenants/a+b/devices", json!({ "device_id": "x" }), "tenant"),
    ] {
        assert_eq!(api.post(path, &body).blamed(), field, "{path} {body}");
    }
    api.post("/tenants", &json!({ "name": "no identifier" })).problem(400, "bad-request");
    for (path, field) in [
        ("/tenants?limit=0", "limit"),
        ("/tenants?limit=1001", "limit"),
        ("/tenants?limit=x", "limit"),
        ("/tenants?cursor=a%2Bb", "cursor"),
        ("/tenants?page=2", "page"),
        ("/tenants/a%20b", "tenant"),
        ("/devices?status=gone", "status"),
        ("/devices?tenant=a%2Fb", "tenant"),
        ("/tenants/acme/devices?tenant=acme", "tenant"),
        ("/devices?cursor=acme", "cursor"),
        ("/tenants/acme/devices/a%2Fb", "device"),
    ] {
        assert_eq!(api.get(path).blamed(), field, "{path}");
    }
    let change = json!({ "status": "SLEEPING" });
    assert_eq!(api.call("PATCH", "/tenants/acme", Some(&change)).blamed(), "status");
    let stored = "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM devices)";
    assert_eq!(api.database.query(stored), [["1", "0"]]);
}

#[test]
fn an_identity_too_long_for_a_certificate_is_refused() {
    let api = ApiDaemon::with(&[("CERT_AUTH_ENABLED", "1")]);
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    let long = json!({ "device_id": "d".repeat(60) });
    assert_eq!(api.post("/tenants/acme/devices", &long).blamed(), "device_id");
}

#[test]
fn pages_walk_over_everything_exactly_once() {
    let api = ApiDaemon::start();
    api.get("/tenants").ok(200);
    api.database.query(
        "INSERT INTO tenants (tenant_id, name) SELECT 't' || n, 'T' FROM generate_series(1, 7) n;
         INSERT INTO devices (tenant_id, device_id, status) SELECT 't' || n, 'd' || m, CASE m WHEN 2 THEN 'INACTIVE' ELSE 'ACTIVE' END
            FROM generate_series(1, 7) n, generate_series(1, 3) m",
    );
    let every: Vec<String> = (1..=7).map(|n| format!("t{n}")).collect();
    for limit in [1, 2, 3, 7, 8] {
        assert_eq!(names(&api.walk("/tenants", limit), "tenant_id"), every, "{limit}");
        assert_eq!(api.walk("/devices", limit).len(), 21, "{limit}");
        assert_eq!(
            names(&api.walk("/tenants/t3/devices", limit), "device_id"),
            ["d1", "d2", "d3"],
            "{limit}"
        );
        let of_t3 = api.walk("/devices?tenant=t3&status=ACTIVE", limit);
        assert_eq!(names(&of_t3, "device_id"), ["d1", "d3"], "{limit}");
        assert_eq!(
            names(&api.walk("/devices?status=INACTIVE", limit), "tenant_id"),
            every,
            "{limit}"
        );
    }
}
