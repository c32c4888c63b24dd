//! Every route of the API as nobody, viewer, operator, admin and another tenant's viewer: by a
//! token over HTTP, and by the cookie of the console.

use serde_json::{Value, json};
use sluice::http::api_document;

use super::browser::Browser;
use crate::api::client::{Answer, ask, builder};
use crate::support::test_daemon::TestDaemon;

const ROWS: &str = "
    INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'Zeta');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1');
    INSERT INTO telemetry (time, received_at, tenant_id, device_id, msg_type, metrics, extra, message_id)
        VALUES (now() - interval '1 minute', now(), 'acme', 'pump-1', 'telemetry', '{\"t\": 1.5}', '{\"note\": \"secret\"}',
            gen_random_uuid());
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail,
            payload, message_id)
        VALUES ('00000000-0000-0000-0000-000000000001', now(), now(), 'tenant/acme/device/x/telemetry', 'acme', 'x',
            'telemetry', 'UNREGISTERED_DEVICE', 'because', '{\"note\": \"secret\"}', gen_random_uuid())";

const EVENT: &str = "/quarantine/00000000-0000-0000-0000-000000000001";

/// Method, path with names that do not exist, and the role that the document says.
fn routes() -> Vec<(String, String, String)> {
    let paths = api_document()["paths"].as_object().unwrap();
    let routes = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, route)| {
            let id = "00000000-0000-0000-0000-00000000000f";
            let filled = path
                .replace("{tenant}", "none")
                .replace("{certificate}", id)
                .replace("{id}", if path.contains("/links/") { "9" } else { id })
                .replace("{session}", id)
                .replace(['{', '}'], "");
            // A stream has no end: the role is checked before the search.
            let end = if path == "/api/v1/live" { "?search=colour:red" } else { "" };
            let filled = format!("{filled}{end}");
            (method.to_uppercase(), filled, route["x-sluice-role"].as_str().unwrap().to_owned())
        })
    });
    routes.collect()
}

struct People {
    it: TestDaemon<(), crate::support::database::Database<'static>>,
    port: u16,
}

// === impl People ===

impl People {
    fn add(&self, name: &str, more: &[&str]) -> String {
        let arguments = [&["operator", "add", name, "--output", "json"], more].concat();
        let made: Value = serde_json::from_str(&self.it.settings.run(&arguments)).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    fn call(&self, token: &str, method: &str, path: &str) -> Answer {
        let body: &[u8] = if method == "GET" { b"" } else { b"{\"unknown\": true}" };
        let headers = format!(
            "Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        );
        ask(self.port, method, path, &headers, body)
    }
}

#[test]
fn each_route_is_open_to_its_role_and_to_no_lower_one() {
    let it = builder().registry(ROWS).start();
    let port = it.listening("HTTP_BIND");
    let people = People { it, port };
    let ranks = ["viewer", "operator", "admin"];
    let rank = |role: &str| ranks.iter().position(|known| *known == role);
    let routes = routes();
    assert!(routes.len() > 50, "{}", routes.len());
    let unsafe_for_viewers =
        routes.iter().filter(|(method, _, role)| method != "GET" && role == "viewer");
    assert_eq!(unsafe_for_viewers.count(), 0, "a viewer changes nothing");
    for (method, path, needed) in &routes {
        let nobody = ask(port, method, path, "Host: localhost\r\n", b"");
        let is_open = path.starts_with("/crl.");
        assert_eq!(nobody.status == 401, !is_open, "nobody {method} {path}: {}", nobody.status);
        assert!(
            is_open
                || needed != "none"
                || path.ends_with("openapi.json")
                || path.ends_with("bundle"),
            "{path}"
        );
    }
    for role in ranks {
        let token = people.add(role.replace("admin", "root").as_str(), &["--role", role]);
        let browser = Browser::signed_in(port, &token);
        for (method, path, needed) in &routes {
            let is_too_low = rank(needed) > rank(role);
            let by_token = people.call(&token, method, path);
            let body = (method != "GET").then(|| json!({ "unknown": true }));
            let by_cookie =
                browser.api(method, path.strip_prefix("/api/v1").unwrap_or("/me"), body.as_ref());
            for answer in [&by_token, &by_cookie] {
                let is_refused = answer.status == 403 && answer.text().contains("the role ");
                let is_open = path.starts_with("/crl.");
                assert_eq!(
                    is_refused,
                    is_too_low && !is_open,
                    "{role} {method} {path}: {answer:?}"
                );
            }
        }
    }
    another_tenants_viewer_finds_nothing(&people, &routes);
    payloads_are_for_operators(&people);
}

fn another_tenants_viewer_finds_nothing(people: &People, routes: &[(String, String, String)]) {
    let token = people.add("zed", &["--role", "viewer", "--tenant", "zeta"]);
    // The document of the API is the same for all, and its examples name a device.
    for (method, path, _) in routes.iter().filter(|(_, path, _)| !path.ends_with("openapi.json")) {
        let path = path.replace("/none", "/acme").replace("/device/", "/pump-1/");
        let answer = people.call(&token, method, &path);
        assert!(!answer.text().contains("pump-1\""), "{method} {path}: {}", answer.text());
    }
    for path in ["/tenants/acme", "/tenants", "/operators", "/sessions", "/tenants/acme/devices"] {
        people.call(&token, "GET", &format!("/api/v1{path}")).problem(403, "forbidden");
    }
    people.call(&token, "GET", &format!("/api/v1{EVENT}")).problem(404, "not-found");
    let own = people.call(&token, "GET", "/api/v1/devices").ok(200);
    assert_eq!(own["items"].as_array().map(Vec::len), Some(0));
}

fn payloads_are_for_operators(people: &People) {
    let tokens = ["viewer", "operator"]
        .map(|role| (role, people.add(&format!("{role}2"), &["--role", role])));
    for (role, token) in &tokens {
        let get = |path: &str| people.call(token, "GET", &format!("/api/v1{path}")).ok(200);
        let (event, row) = (get(EVENT), get("/tenants/acme/devices/pump-1/telemetry/latest"));
        let page = get("/tenants/acme/devices/pump-1/telemetry");
        let hides = *role == "viewer";
        assert_eq!(event["payload"].is_null(), hides, "{role} {event}");
        assert_eq!(row["extra"].is_null(), hides, "{role} {row}");
        assert_eq!(page["items"][0]["extra"].is_null(), hides, "{role} {page}");
        assert_eq!(
            (&row["metrics"]["t"], &event["reason"]),
            (&json!(1.5), &json!("UNREGISTERED_DEVICE"))
        );
    }
    let open =
        builder().on_database(&people.it.database).set("CONSOLE_VIEWER_PAYLOADS", "1").start();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", tokens[0].1);
    let port = open.listening("HTTP_BIND");
    let event = ask(port, "GET", &format!("/api/v1{EVENT}"), &headers, b"").ok(200);
    assert_eq!(event["payload"], "{\"note\": \"secret\"}");
}
