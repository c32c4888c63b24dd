//! Codes on the command line and in the API: made, listed, revoked, refused.

use serde_json::json;

use crate::api::client::{self, Client, TOKEN};
use crate::certificates::ca_fixture::CaFixture;

#[test]
fn the_command_line_makes_lists_and_revokes_codes() {
    let ca = CaFixture::new();
    let made = ca.done(&[
        "enrol",
        "add",
        "acme",
        "--pattern",
        "pump-*",
        "--uses",
        "3",
        "--expires",
        "7d",
        "--site",
        "north",
    ]);
    assert_eq!(made["device_pattern"], "pump-*");
    assert_eq!((&made["max_uses"], &made["uses"]), (&json!(3), &json!(0)));
    assert_eq!(made["status"], "ACTIVE");
    let code = made["code"].as_str().unwrap();
    assert_eq!(code.len(), 29, "{code}");
    let days =
        "SELECT round(extract(epoch FROM expires_at - created_at) / 86400) FROM enrolment_codes";
    assert_eq!(ca.database.value(days), "7");

    let id = made["code_id"].as_str().unwrap();
    let second = ca.done(&["enrol", "add", "acme", "--device", "pump-1"]);
    let listed = ca.done(&["enrol", "list", "acme"]);
    assert_eq!(listed[0]["code_id"], second["code_id"], "the newest first");
    assert_eq!(listed[1]["code_id"], id);
    assert!(!listed.to_string().contains(code), "{listed}");
    let page = ca.done(&["enrol", "list", "acme", "--cursor", second["code_id"].as_str().unwrap()]);
    assert_eq!(page.as_array().unwrap().len(), 1);
    let table = ca.run(&["enrol", "list", "acme"], "");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("pump-*") && table.contains("0 of 3"), "{table}");

    let revoked = ca.done(&["enrol", "revoke", "acme", id]);
    assert_eq!(revoked["status"], "REVOKED");
    assert_eq!(ca.done(&["enrol", "revoke", "acme", id])["revoked_at"], revoked["revoked_at"]);
    let count = "SELECT count(*) FROM audit_log WHERE action = 'enrolment_code.revoke'";
    assert_eq!(ca.database.value(count), "1");

    for (line, words) in [
        (&["enrol", "add", "nobody", "--device", "x"][..], "sluice tenant add nobody"),
        (&["enrol", "add", "acme"], "--device"),
        (&["enrol", "add", "acme", "--device", "x", "--pattern", "x*"], "cannot be used with"),
        (&["enrol", "add", "acme", "--pattern", "x"], "ends with *"),
        (&["enrol", "add", "acme", "--device", "x", "--uses", "0"], "0 is not in"),
        (&["enrol", "add", "acme", "--device", "x", "--expires", "366d"], "within 365 days"),
        (&["enrol", "add", "acme", "--device", "x", "--expires", "2020-01-01T00:00:00Z"], "future"),
        (&["enrol", "list", "nobody"], "not found"),
        (
            &["enrol", "revoke", "acme", "00000000-0000-0000-0000-000000000000"],
            "sluice enrol list acme",
        ),
    ] {
        assert!(ca.refused(line).contains(words), "{line:?}: {}", ca.refused(line));
    }
}

#[test]
fn the_api_makes_lists_and_revokes_codes() {
    let ca = CaFixture::new();
    let started = client::builder().on_database(&ca.database).start();
    let api = Client::of(started.listening("HTTP_BIND"), Some(TOKEN));
    let path = "/tenants/acme/enrolment-codes";
    let body =
        json!({ "device_pattern": "pump-*", "max_uses": 2, "expires": "12h", "site_id": "north" });
    let made = api.post(path, &body).ok(201);
    assert_eq!(made["adds_devices"], true);
    let code = made["code"].as_str().unwrap();
    let plain = api.post(path, &json!({ "device_id": "pump-1" })).ok(201);
    let listed = api.get(path).ok(200);
    assert_eq!(listed["items"][0]["code_id"], plain["code_id"]);
    assert!(!listed.to_string().contains(code), "{listed}");
    let first = api.get(&format!("{path}?limit=1")).ok(200);
    let next = first["next"].as_str().unwrap();
    let second = api.get(&format!("{path}?limit=1&cursor={next}")).ok(200);
    assert_eq!(second["items"][0]["code_id"], made["code_id"]);

    let one = format!("{path}/{}", made["code_id"].as_str().unwrap());
    assert_eq!(api.call("DELETE", &one, None).ok(200)["status"], "REVOKED");
    assert_eq!(ca.database.value("SELECT count(*) FROM audit_log WHERE actor = 'api'"), "3");
    for (body, status) in [
        (json!({}), 400),
        (json!({ "device_id": "x", "device_pattern": "x*" }), 400),
        (json!({ "device_pattern": "x" }), 400),
        (json!({ "device_id": "x", "max_uses": 0 }), 400),
        (json!({ "device_id": "x", "expires": "366d" }), 422),
        (json!({ "device_id": "x", "expires": "later" }), 400),
        (json!({ "device_id": "x", "code": "mine" }), 400),
    ] {
        assert_eq!(api.post(path, &body).status, status, "{body}");
    }
    assert_eq!(
        api.post("/tenants/nobody/enrolment-codes", &json!({ "device_id": "x" })).status,
        404
    );
    assert_eq!(api.get("/tenants/nobody/enrolment-codes").status, 404);
    let unknown = format!("{path}/00000000-0000-0000-0000-000000000000");
    assert_eq!(api.call("DELETE", &unknown, None).status, 404);
    let stranger = Client::of(started.listening("HTTP_BIND"), None);
    assert_eq!(stranger.get(path).status, 401);
}
