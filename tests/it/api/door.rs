//! Who may use the API, what others are answered, and that the token is not logged.

use serde_json::json;

use super::client::{ApiDaemon, TOKEN};
use crate::support::port;

#[test]
fn only_the_bearer_of_the_token_is_answered_and_the_token_is_not_logged() {
    let api = ApiDaemon::start();
    let with =
        |header: &str| api.send("GET", "/api/v1/tenants", &format!("Host: x\r\n{header}"), b"");
    with(&format!("Authorization: Bearer {TOKEN}\r\n")).ok(200);
    let wrong = format!("Authorization: Bearer {TOKEN}x\r\n");
    for header in ["", &wrong, "Authorization: Basic YTpi\r\n"] {
        let answer = with(header);
        answer.problem(401, "unauthorized");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        assert!(!answer.json().to_string().contains("admin-secret"));
    }
    // A path that does not exist gets the same answer as one that does.
    api.send("GET", "/api/v1/nothing", "Host: x\r\n", b"").problem(401, "unauthorized");
    // A token does not belong in a query; the log does not repeat it.
    api.get(&format!("/tenants?token={TOKEN}")).problem(400, "bad-request");
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    let made = api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1" })).ok(201);
    let token = made["token"].as_str().unwrap();

    assert_eq!(api.daemon.terminate(), 0);
    let log = api.daemon.log();
    assert!(
        log.contains("the API answered") && log.contains("/api/v1/tenants"),
        "the log is at its loudest"
    );
    assert!(!log.contains("admin-secret"), "the admin token");
    assert!(!log.contains(token), "the device's token");
}

#[test]
fn without_a_token_only_this_machine_is_answered_and_only_on_the_loopback() {
    let api = ApiDaemon::open(&[]);
    api.get("/tenants").ok(200);
    let ask = |headers: &str| api.send("GET", "/api/v1/tenants", headers, b"");
    for stranger in ["Host: evil.example\r\n", "Host: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n"]
    {
        let said = ask(stranger).problem(403, "forbidden");
        assert!(said["detail"].as_str().unwrap().contains("set ADMIN_TOKEN"), "{said}");
    }
    let exposed = ApiDaemon::open(&[("HTTP_BIND", &format!("0.0.0.0:{}", port::free()))]);
    exposed.get("/tenants").problem(403, "forbidden");
}

#[test]
fn what_is_no_call_is_answered_with_a_problem() {
    let api = ApiDaemon::start();
    api.get("/nothing").problem(404, "no-such-path");
    let wrong = api.call("PUT", "/tenants", None);
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.head.contains("allow: get,head,post"), "{}", wrong.head);
    let headers =
        format!("Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: text/plain\r\n");
    api.send("POST", "/api/v1/tenants", &headers, b"{}").problem(415, "unsupported-media-type");
    let long = json!({ "topic": "t", "payload": "x".repeat(140_000) });
    api.post("/explain", &long).problem(413, "too-large");
    let headers = headers.replace("text/plain", "application/json");
    for body in ["", "{", "[]", "{} {}"] {
        api.send("POST", "/api/v1/tenants", &headers, body.as_bytes()).problem(400, "bad-request");
    }
    api.send("GET", "/api/v1/tenants", &headers, b"{}").problem(400, "bad-request");
}
