//! Operators, one-time links and sessions, in two replicas of one database.

use serde_json::{Value, json};

use super::browser::{Browser, between};
use crate::api::client::{TOKEN, ask, builder};
use crate::support::daemon::Settings;
use crate::support::test_daemon::TestDaemon;
use crate::support::wait;

const TENANTS: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme')";

fn json(settings: &Settings, arguments: &[&str]) -> Value {
    serde_json::from_str(&settings.run(&[arguments, &["--output", "json"]].concat())).unwrap()
}

fn token_of(made: &Value) -> String {
    made["token"].as_str().unwrap().to_owned()
}

#[test]
fn what_ends_a_session_ends_it_in_every_replica_and_a_kill_does_not() {
    let one = builder().registry(TENANTS).start();
    let two = TestDaemon::builder().set("ADMIN_TOKEN", TOKEN).on_database(&one.database).start();
    let ports = [one.listening("HTTP_BIND"), two.listening("HTTP_BIND")];
    let settings = &one.settings;
    let alice = token_of(&json(settings, &["operator", "add", "alice", "--role", "operator"]));
    let here = Browser::signed_in(ports[0], &alice);
    assert_eq!(here.at(ports[1]).api("GET", "/me", None).ok(200)["actor"], "console:alice");

    // A kill and a restart keep the session.
    one.daemon.kill9();
    one.daemon.start_again();
    one.listening("HTTP_BIND");
    assert_eq!(here.api("GET", "/me", None).ok(200)["role"], "operator");

    // A logout at one replica.
    assert_eq!(here.at(ports[1]).post("/console/logout", &[]).status, 303);
    here.api("GET", "/me", None).problem(401, "unauthorized");

    // Another role, another token, the removal; and an end by an admin.
    let in_both =
        |browser: &Browser| ports.map(|port| browser.at(port).api("GET", "/me", None).status);
    let there = Browser::signed_in(ports[1], &alice);
    assert_eq!(in_both(&there), [200, 200]);
    settings.run(&["operator", "set-role", "alice", "--role", "viewer", "--tenant", "acme"]);
    assert_eq!(in_both(&there), [401, 401]);
    let there = Browser::signed_in(ports[1], &alice);
    let me = there.api("GET", "/me", None).ok(200);
    assert_eq!((&me["role"], &me["tenant"]), (&json!("viewer"), &json!("acme")));
    let newer = token_of(&json(settings, &["operator", "token", "alice"]));
    assert_eq!(in_both(&there), [401, 401]);
    let old = Browser::new(ports[0]).post("/console/login", &[("token", &alice)]);
    assert_eq!(old.status, 401, "the old token");
    let there = Browser::signed_in(ports[1], &newer);
    let admin = Browser::signed_in(ports[0], TOKEN);
    let sessions = admin.api("GET", "/sessions", None).ok(200);
    let of_alice = sessions["items"].as_array().unwrap().iter().find(|row| row["name"] == "alice");
    let id = of_alice.unwrap()["session_id"].as_str().unwrap();
    admin.api("DELETE", &format!("/sessions/{id}"), None).ok(200);
    admin.api("DELETE", &format!("/sessions/{id}"), None).problem(404, "not-found");
    assert_eq!(in_both(&there), [401, 401]);
    let there = Browser::signed_in(ports[1], &newer);
    settings.run(&["operator", "remove", "alice"]);
    assert_eq!(in_both(&there), [401, 401]);
    assert_eq!(bearer(ports[1], &newer, "GET", "/me"), 401);

    // Time ends a session, too; and another ADMIN_TOKEN ends those that the old one opened.
    assert_eq!(in_both(&admin), [200, 200]);
    one.database.query("UPDATE console_sessions SET seen_at = now() - interval '61 minutes'");
    assert_eq!(in_both(&admin), [401, 401]);
    let admin = Browser::signed_in(ports[0], TOKEN);
    one.database.query("UPDATE console_sessions SET expires_at = now() - interval '1 second'");
    assert_eq!(in_both(&admin), [401, 401]);
    let admin = Browser::signed_in(ports[0], TOKEN);
    two.daemon.terminate();
    let changed = two.settings.clone().set("ADMIN_TOKEN", "another-admin-token").start();
    wait::until("it listens", || changed.get("/livez").is_ok());
    assert_eq!(in_both(&admin), [200, 401]);
    let actions = one.database.value(
        "SELECT string_agg(DISTINCT action, ' ' ORDER BY action) FROM audit_log WHERE action LIKE 'operator.%'",
    );
    assert_eq!(actions, "operator.add operator.remove operator.set_role operator.token");
    let secrets = format!(
        "SELECT count(*) FROM audit_log WHERE detail::text LIKE '%{}%' OR detail::text LIKE '%sluice_op_%'",
        &newer[10..]
    );
    assert_eq!(one.database.value(&secrets), "0");
}

#[test]
fn a_one_time_link_signs_in_once_at_any_replica() {
    let one = builder().registry(TENANTS).start();
    let two = TestDaemon::builder().on_database(&one.database).start();
    let ports = [one.listening("HTTP_BIND"), two.listening("HTTP_BIND")];
    let code = |arguments: &[&str]| {
        let made = json(&one.settings, &[&["console"], arguments].concat());
        let url = made["url"].as_str().unwrap().to_owned();
        let start = format!("http://127.0.0.1:{}/console/link?code=", ports[0]);
        url.strip_prefix(&start).unwrap_or_else(|| panic!("{url}")).to_owned()
    };
    let made = code(&[]);
    let browser = Browser::new(ports[1]);
    // The page reads only: a program that follows links uses nothing up.
    for _ in 0..3 {
        let page = browser.get(&format!("/console/link?code={made}")).page();
        assert_eq!(between(&page, "name=\"code\" value=\"", "\""), Some(made.as_str()));
    }
    assert_eq!(browser.post("/console/link", &[("code", &made)]).redirected(), "/console");
    let me = browser.api("GET", "/me", None).ok(200);
    assert!(me["actor"].as_str().unwrap().starts_with("console:") && me["role"] == "admin", "{me}");
    for port in ports {
        let again = Browser::new(port).post("/console/link", &[("code", &made)]);
        assert_eq!((again.status, again.header("set-cookie")), (401, None));
        assert!(again.text().contains("has been used"), "{}", again.text());
    }
    let late = code(&["--role", "viewer"]);
    one.database.query("UPDATE console_login_codes SET expires_at = now() - interval '1 second'");
    assert_eq!(Browser::new(ports[0]).post("/console/link", &[("code", &late)]).status, 401);
    let bound = code(&["--role", "viewer", "--tenant", "acme"]);
    let viewer = Browser::new(ports[0]);
    assert_eq!(viewer.post("/console/link", &[("code", &bound)]).status, 303);
    assert_eq!(viewer.api("GET", "/me", None).ok(200)["tenant"], "acme");
    let text = one.settings.run(&["console", "--print-url", "https://sluice.example.org/"]);
    assert!(text.contains("https://sluice.example.org/console/link?code="), "{text}");
}

#[test]
fn people_of_a_proxy_are_trusted_from_its_address_only() {
    let settings = [
        ("CONSOLE_PROXY_LOGIN", "1"),
        ("CONSOLE_GROUP_ROLES", "all=viewer,ops=admin,acme=operator@acme"),
    ];
    let trusting = builder()
        .registry(TENANTS)
        .with(&settings)
        .set("CONSOLE_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
        .start();
    let port = trusting.listening("HTTP_BIND");
    let of = |user: &str, groups: &str| {
        format!(
            "X-Auth-Request-User: {user}\r\nX-Auth-Request-Groups: {groups}\r\nX-Forwarded-Proto: https\r\n"
        )
    };
    let me = |headers: &str| {
        ask(port, "GET", "/api/v1/me", &format!("Host: localhost\r\n{headers}"), b"")
    };
    let alice = me(&of("alice", "all, ops")).ok(200);
    assert_eq!((&alice["actor"], &alice["role"]), (&json!("console:alice"), &json!("admin")));
    let bob = me(&of("bob", "all,acme")).ok(200);
    assert_eq!((&bob["role"], &bob["tenant"]), (&json!("operator"), &json!("acme")));
    me(&of("carol", "none")).problem(401, "unauthorized");
    me(&of("", "ops")).problem(401, "unauthorized");
    let two = format!("X-Auth-Request-User: eve\r\n{}", of("alice", "ops"));
    me(&two).problem(401, "unauthorized");

    // Pages: no login, a cookie for HTTPS that ties changes to this browser, and the audit's name.
    let browser = Browser::new(port);
    let first = browser.get_with("/console", &of("alice", "ops"));
    assert_eq!(first.status, 200, "{}", first.head);
    let cookie = first.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__host-sluice=") && cookie.ends_with("; secure"), "{cookie}");
    let page = browser.get_with("/console", &of("alice", "ops")).page();
    let csrf = between(&page, "name=\"csrf\" value=\"", "\"").unwrap().to_owned();
    let add = |token: &str| {
        let headers = format!(
            "{}Content-Type: application/json\r\nSec-Fetch-Site: same-origin\r\nX-CSRF-Token: {token}\r\n",
            of("alice", "ops")
        );
        browser.send("POST", "/api/v1/tenants", &headers, br#"{"tenant_id": "zeta"}"#)
    };
    add("").problem(403, "forbidden");
    add(&csrf).ok(201);
    let actor = "SELECT actor FROM audit_log WHERE action = 'tenant.add'";
    assert_eq!(trusting.database.value(actor), "console:alice");

    let wary = builder()
        .on_database(&trusting.database)
        .with(&settings)
        .set("CONSOLE_TRUSTED_PROXIES", "10.0.0.0/8")
        .start();
    let port = wary.listening("HTTP_BIND");
    let headers = format!("Host: localhost\r\n{}", of("alice", "ops"));
    ask(port, "GET", "/api/v1/me", &headers, b"").problem(401, "unauthorized");
    let page = ask(port, "GET", "/console", &headers, b"");
    assert_eq!(page.redirected(), "/console/login?next=%2fconsole");
    wait::until("a log line", || wary.daemon.log().contains("ignored X-Auth-Request-User"));
}

fn bearer(port: u16, token: &str, method: &str, path: &str) -> u16 {
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    ask(port, method, &format!("/api/v1{path}"), &headers, b"").status
}
