//! A caller that is bound to a tenant, on every route of the API: nothing of another tenant is read
//! or changed, whatever the request names.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice::http::api_document;

use super::coa_client::{CoaClient, CoaReply};
use crate::support::test_daemon::TestDaemon;

/// Each row of the other tenant contains this.
const MARK: &str = "zeta-mark";

const REGISTRY: &str = "
    INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme'), ('zeta', 'zeta-mark');
    INSERT INTO devices (tenant_id, device_id, metadata)
        VALUES ('acme', 'd', '{}'), ('zeta', 'd', '{\"of\": \"zeta-mark\"}'), ('zeta', 'zeta-mark', '{}');
    INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number, common_name, issuer,
            status, not_before, not_after)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, t, 'd', lpad(n::text, 64, '0'), n::text, name, 'ca',
            'ACTIVE', now(), now() + interval '90 days'
        FROM (VALUES (1, 'acme', 'acme/device/d'), (2, 'zeta', 'zeta-mark')) v (n, t, name);
    INSERT INTO quarantine_events (id, quarantined_at, received_at, topic, tenant_id, device_id, msg_type, reason, detail,
            payload, message_id)
        SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, now(), now(), coalesce('tenant/' || t || '/device/d/telemetry', 'odd'), t,
            'd', 'telemetry', 'BAD_PAYLOAD', d, 'no json', ('00000000-0000-0000-0000-0000000000f' || n)::uuid
        FROM (VALUES (1, 'acme', 'because'), (2, 'zeta', 'zeta-mark'), (3, NULL, 'zeta-mark')) v (n, t, d);
    INSERT INTO link_refused (link, id, lane, tenant_id, device_id, msg_type, topic, mode, payload, time, received_at,
            message_id, queued_at, reason, detail)
        SELECT 'hub', n, 0, t, 'd', 'telemetry', 'up', 'raw', '{}', now(), now(), gen_random_uuid(), now(), 'REFUSED', d
        FROM (VALUES (1, 'acme', 'because'), (2, 'zeta', 'zeta-mark')) v (n, t, d);
    INSERT INTO quarantine_replays (tenant_id, replay_id, status, selection, until_at, created_by)
        SELECT t, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'STOPPED', '{}', now(), d
        FROM (VALUES (1, 'acme', 'because'), (2, 'zeta', 'zeta-mark'), (3, '', 'zeta-mark')) v (n, t, d)";

const LISTS: [&str; 5] =
    ["devices", "certificates", "quarantine", "quarantine/replays", "links/hub/refused"];

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-00000000000{number}")
}

/// Method and path of each route.
fn routes() -> Vec<(String, String, Value)> {
    let paths = api_document()["paths"].as_object().unwrap();
    let routes = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, route)| (method.to_uppercase(), path.clone(), route.clone()))
    });
    routes.collect()
}

/// The path of a row of this tenant.
fn path_of(path: &str, tenant: &str, number: u32) -> String {
    let id = id(number);
    let id = if path.contains("/links/") { number.to_string() } else { id };
    let values = [
        ("{name}", "hub"),
        ("{tenant}", tenant),
        ("{device}", "d"),
        ("{certificate}", &id),
        ("{id}", &id),
    ];
    let path = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    // Names that later routes have in their path.
    path.replace(['{', '}'], "")
}

fn ask(method: &str, route: &str, parameters: impl Into<Value>, body: impl Into<Value>) -> Value {
    let (parameters, body): (Value, Value) = (parameters.into(), body.into());
    json!({ "method": method, "route": route.trim_start_matches("/api/v1/"), "parameters": parameters, "body": body })
}

fn shown(reply: &CoaReply) -> String {
    format!("{} {}", reply.state, String::from_utf8_lossy(&reply.body))
}

struct Walk {
    it: TestDaemon,
    callers: BTreeMap<&'static str, CoaClient>,
}

// === impl Walk ===

impl Walk {
    fn start() -> Self {
        let callers = "v=viewer@acme,o=operator@acme,a=admin@acme,all=viewer";
        let it = TestDaemon::builder()
            .broker()
            .registry(REGISTRY)
            .set("MQTT_API_CALLERS", callers)
            .start_ready();
        let names = ["v", "o", "a", "all"];
        let callers = names.map(|name| (name, CoaClient::named(&it.broker, name))).into();
        Self { it, callers }
    }

    fn ask(&self, caller: &str, requests: &[Value]) -> Vec<CoaReply> {
        self.callers[caller].ask_all(requests)
    }

    fn one(&self, caller: &str, request: Value) -> CoaReply {
        self.ask(caller, &[request]).remove(0)
    }
}

#[test]
fn no_route_shows_or_changes_another_tenants_rows() {
    let walk = Walk::start();
    // Every route with the names of the other tenant, with an empty body and with one that names it.
    let foreign: Vec<(Value, bool)> = routes()
        .iter()
        .flat_map(|(method, path, route)| {
            let target = path_of(path, "zeta", 2);
            let is_public = route["x-sluice-role"] == "none" || path == "/api/v1/me";
            let bodies = if method == "GET" || method == "DELETE" {
                vec![(json!({}), Value::Null), (json!({ "tenant": "zeta" }), Value::Null)]
            } else {
                let body = json!({ "tenant": "zeta", "ids": [id(2)], "dry_run": false,
                    "topic": "tenant/zeta/device/d/telemetry", "payload": "{}" });
                vec![(json!({}), json!({})), (json!({ "tenant": "zeta" }), body)]
            };
            let requests = bodies
                .into_iter()
                .map(move |(parameters, body)| (ask(method, &target, parameters, body), is_public));
            requests.collect::<Vec<_>>()
        })
        .collect();
    assert!(foreign.len() > 60, "{}", foreign.len());
    let requests: Vec<Value> = foreign.iter().map(|(request, _)| request.clone()).collect();
    for caller in ["v", "o", "a"] {
        for (reply, (request, is_public)) in walk.ask(caller, &requests).iter().zip(&foreign) {
            let text = shown(reply);
            assert!(!text.contains(MARK), "{caller} {request}: {text}");
            // Without the parameter a list of all tenants is one of the caller's own.
            let is_own_list = [
                &LISTS[..],
                &[
                    "certificates",
                    "certificates/expiry",
                    "ca",
                    "crl",
                    "quarantine/facets",
                    "audit",
                    "live/recent",
                    "overview",
                ],
            ]
            .concat()
            .iter()
            .any(|list| request["route"] == *list && request["parameters"]["tenant"].is_null());
            if !is_public && !is_own_list {
                assert!([400, 403, 404].contains(&reply.state), "{caller} {request}: {text}");
            }
        }
    }
    let counts = "SELECT (SELECT count(*) FROM devices) || ' ' || (SELECT count(*) FROM tenants) || ' ' ||
        (SELECT count(*) FROM quarantine_events) || ' ' || (SELECT count(*) FROM link_refused) || ' ' ||
        (SELECT count(*) FROM device_certificates WHERE status = 'ACTIVE') || ' ' || (SELECT count(*) FROM audit_log)";
    assert_eq!(walk.it.database.value(counts), "3 2 3 2 2 0", "nothing has changed");
}

#[test]
fn a_bound_caller_finds_its_own_rows_and_another_identifier_does_not_exist() {
    let walk = Walk::start();
    let none = || json!({});
    for (list, count) in LISTS.map(|list| (list, 1)) {
        let own = walk.one("v", ask("GET", list, none(), Value::Null)).ok(200);
        assert_eq!(own["items"].as_array().map(Vec::len), Some(count), "{list}: {own}");
        let all = walk.one("all", ask("GET", list, none(), Value::Null)).ok(200);
        assert!(all.to_string().contains(MARK), "{list}: {all}");
        let named = json!({ "tenant": "acme" });
        assert_eq!(walk.one("v", ask("GET", list, named, Value::Null)).ok(200), own);
    }
    // Unknown and foreign look the same: the routes of a row, and the cursor of a list.
    for (route, cursor) in
        [("certificates", true), ("quarantine", false), ("quarantine/replays", false)]
    {
        let of = |number: u32| {
            let reply =
                walk.one("v", ask("GET", &format!("{route}/{}", id(number)), none(), Value::Null));
            shown(&reply).replace(&id(number), "<id>")
        };
        assert!(of(1).starts_with("200"), "{}", of(1));
        assert_eq!(of(2), of(9), "{route}");
        assert!(of(2).starts_with("404"));
        if cursor {
            let from = |number: u32| {
                shown(
                    &walk.one("v", ask("GET", route, json!({ "cursor": id(number) }), Value::Null)),
                )
            };
            assert_eq!(from(2), from(9));
            assert!(from(1).starts_with("200"));
        }
    }
    let letter = |number: u32| {
        let route = format!("links/hub/refused/{number}");
        shown(&walk.one("v", ask("GET", &route, none(), Value::Null)))
            .replace(&number.to_string(), "<id>")
    };
    assert!(letter(1).starts_with("200"), "{}", letter(1));
    assert!(letter(2).starts_with("404"), "{}", letter(2));
    assert_eq!(letter(2).replace("<id>", ""), letter(9).replace("<id>", ""));
    links_show_a_bound_caller_its_dead_letters(&walk);
    let retried = json!({ "tenant": "acme", "ids": [1, 2] });
    let retried = walk.one("o", ask("POST", "links/hub/refused/retry", none(), retried)).ok(200);
    assert_eq!(retried["messages"], 1);
    // Identifiers beside the own tenant select only its own events.
    let chosen = json!({ "tenant": "acme", "ids": [id(2), id(3)] });
    let discarded = walk.one("a", ask("POST", "quarantine/discard", none(), chosen)).ok(200);
    assert_eq!(discarded["events"], 0);
    let own = json!({ "tenant": "acme", "ids": [id(1)] });
    assert_eq!(walk.one("a", ask("POST", "quarantine/discard", none(), own)).ok(200)["events"], 1);
    let everything = json!({ "tenant": "acme", "all": true });
    assert_eq!(walk.one("a", ask("POST", "quarantine/discard", none(), everything)).state, 400);
    let explained = json!({ "topic": "tenant/acme/device/d/telemetry", "payload": "{}" });
    assert_eq!(walk.one("o", ask("POST", "explain", none(), explained)).state, 200);
}

#[test]
fn a_role_is_refused_what_the_reference_gives_to_a_higher_one() {
    let walk = Walk::start();
    let roles = ["viewer", "operator", "admin"];
    let rank = |role: &str| roles.iter().position(|known| *known == role);
    let routes = routes();
    let requests: Vec<Value> = routes
        .iter()
        // Names that do not exist: no request changes anything, whatever its role.
        .map(|(method, path, _)| {
            let body = if method == "GET" { Value::Null } else { json!({ "unknown": true }) };
            ask(
                method,
                &path_of(path, "acme", 9).replace("/devices/d", "/devices/none"),
                json!({}),
                body,
            )
        })
        .collect();
    for (caller, role) in [("v", "viewer"), ("o", "operator"), ("all", "viewer")] {
        for (reply, (method, path, route)) in walk.ask(caller, &requests).iter().zip(&routes) {
            let needed = route["x-sluice-role"].as_str().unwrap();
            let is_too_low = rank(needed) > rank(role);
            let is_refused_for_role = reply.state == 403 && shown(reply).contains("the role ");
            assert_eq!(
                is_refused_for_role,
                is_too_low,
                "{caller} {method} {path}: {}",
                shown(reply)
            );
        }
    }
    let role_of = |method: &str, path: &str| {
        let route = routes.iter().find(|(m, p, _)| m == method && p == path);
        route.unwrap().2["x-sluice-role"].as_str().unwrap().to_owned()
    };
    for (method, path, role) in [
        ("GET", "/api/v1/openapi.json", "none"),
        ("GET", "/crl.pem", "none"),
        ("POST", "/api/v1/tenants", "admin"),
        ("PATCH", "/api/v1/tenants/{tenant}", "admin"),
        ("DELETE", "/api/v1/tenants/{tenant}", "admin"),
        ("GET", "/api/v1/tenants/{tenant}", "viewer"),
        ("DELETE", "/api/v1/tenants/{tenant}/devices/{device}", "admin"),
        ("POST", "/api/v1/explain", "operator"),
        ("GET", "/api/v1/quarantine/{id}/explain", "operator"),
        ("GET", "/api/v1/tenants/{tenant}/devices/{device}/registration", "operator"),
        ("POST", "/api/v1/quarantine/discard", "admin"),
        ("POST", "/api/v1/certificates/import", "admin"),
        ("POST", "/api/v1/certificates/{certificate}/revoke", "operator"),
    ] {
        assert_eq!(role_of(method, path), role, "{method} {path}");
    }
}

/// Links serve all tenants; of them a bound caller sees what they did not accept of its own.
fn links_show_a_bound_caller_its_dead_letters(walk: &Walk) {
    let none = || json!({});
    for (caller, request) in [
        ("v", ask("GET", "links", none(), Value::Null)),
        ("v", ask("GET", "links/hub", none(), Value::Null)),
        ("o", ask("POST", "links/hub/refill", none(), json!({ "since": "1h" }))),
        (
            "o",
            ask(
                "POST",
                "explain",
                none(),
                json!({ "topic": "tenant/acme/x", "payload": "", "link": "hub" }),
            ),
        ),
    ] {
        let reply = walk.one(caller, request);
        let text = shown(&reply);
        assert!(reply.state == 403 && text.contains("/api/v1/tenants/acme/links"), "{text}");
    }
    let own = walk.one("v", ask("GET", "tenants/acme/links", none(), Value::Null)).ok(200);
    assert_eq!((&own[0]["link"], &own[0]["refused"]), (&"hub".into(), &1.into()));
    assert_eq!(walk.one("v", ask("GET", "tenants/zeta/links", none(), Value::Null)).state, 403);
}
