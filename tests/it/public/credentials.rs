//! `POST /public/credentials` as the public sees it: the real daemon, over a socket.

use serde_json::Value;

use crate::api::client::{Answer, ask};
use crate::support::daemon::Daemon;
use crate::support::database::Database;
use crate::support::test_daemon::TestDaemon;

const URL: &str = "wss://mqtt.example.org/mqtt";

/// A daemon that issues credentials to guests. It has no broker: this needs none.
pub struct PublicDaemon {
    pub daemon: Daemon,
    pub database: Database<'static>,
    pub port: u16,
}

// === impl PublicDaemon ===

impl PublicDaemon {
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let start = TestDaemon::builder().database().listener("PUBLIC_BIND");
        let started = start.set("LOG_LEVEL", "trace").with(settings).start();
        let port = started.listening("PUBLIC_BIND");
        Self { daemon: started.daemon, database: started.database, port }
    }

    fn post(&self, headers: &str) -> Answer {
        ask(self.port, "POST", "/public/credentials", &format!("Host: x\r\n{headers}"), b"")
    }

    fn get(&self, path: &str) -> Answer {
        ask(self.port, "GET", path, "Host: x\r\n", b"")
    }
}

#[test]
fn a_guest_gets_a_credential_for_an_hour_and_only_its_hash_is_kept() {
    let public = PublicDaemon::with(&[("PUBLIC_WEBSOCKET_URL", URL)]);
    let answer = public.post("Origin: https://elsewhere.example\r\n");
    let given = answer.ok(201);
    let text = |name: &str| given[name].as_str().unwrap().to_owned();
    assert_eq!(text("username"), text("identity_id"));
    assert!(
        text("identity_id").starts_with("guest-")
            && text("client_id_prefix").starts_with("public-"),
        "{given}"
    );
    assert_eq!(
        (&given["topics"], text("websocket_url").as_str()),
        (&Value::from(vec!["public/#"]), URL)
    );
    assert_eq!(given["expires_in"], 3600);
    assert!(
        answer.head.contains("cache-control: no-store")
            && answer.head.contains("access-control-allow-origin: *")
    );
    let ask_first = ask(public.port, "OPTIONS", "/public/credentials", "Host: x\r\n", b"");
    assert_eq!(ask_first.status, 204);
    assert!(ask_first.head.contains("access-control-allow-methods: post"), "{}", ask_first.head);

    let token = text("token");
    assert_eq!((token.len(), token.bytes().all(|byte| byte.is_ascii_hexdigit())), (64, true));
    let row = format!(
        "SELECT 'guest-' || replace(guest_id::text, '-', '') || encode(token_sha256, 'hex') || \
         (expires_at = timestamptz '{}' + (expires_at - date_trunc('second', expires_at))) FROM guest_credentials",
        text("expiration")
    );
    let hash = public.database.value(&format!("SELECT encode(sha256('{token}'), 'hex')"));
    assert_eq!(public.database.value(&row), format!("{}{hash}true", text("identity_id")));
    assert!(
        !public
            .database
            .value("SELECT to_jsonb(g)::text FROM guest_credentials g")
            .contains(&token)
    );
    assert_ne!(public.post("").ok(201)["token"], given["token"]);
    assert!(
        (public.daemon.metric("sluice_guest_credentials_issued_total") - 2.0).abs() < f64::EPSILON
    );
    public.daemon.terminate();
    assert!(!public.daemon.log().contains(&token), "the token is in the log");
}

#[test]
fn the_public_reaches_the_page_and_nothing_of_the_api() {
    let public = PublicDaemon::with(&[("PUBLIC_WEBSOCKET_URL", URL)]);
    let page = public.get("/public");
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         connect-src 'self' wss://mqtt.example.org; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
    ] {
        assert!(page.head.contains(header), "{header}\n{}", page.head);
    }
    // All it shows comes from here.
    let body = String::from_utf8(page.body).unwrap();
    assert!(
        !body.contains("http") && !body.contains("<script>") && !body.contains("<style"),
        "{body}"
    );
    for (path, kind) in [("/public/page.js", "text/javascript"), ("/public/page.css", "text/css")] {
        let answer = public.get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(kind), "{}", answer.head);
    }
    for path in [
        "/",
        "/api/v1/tenants",
        "/api/v1/openapi.json",
        "/metrics",
        "/readyz",
        "/public/",
        "/public/../etc",
    ] {
        public.get(path).problem(404, "no-such-path");
    }
    public.get("/public/credentials").problem(405, "method-not-allowed");
    let long = ask(public.port, "POST", "/public/credentials", "Host: x\r\n", &[b'x'; 2000]);
    long.problem(413, "too-large");
}

#[test]
fn an_address_over_its_rate_waits_and_cannot_borrow_another() {
    let public = PublicDaemon::with(&[("PUBLIC_CREDENTIALS_PER_MINUTE", "2")]);
    public.post("").ok(201);
    public.post("X-Forwarded-For: 192.0.2.1\r\n").ok(201);
    let refused = public.post("X-Forwarded-For: 192.0.2.2\r\n");
    refused.problem(429, "too-many-requests");
    let wait = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=30).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert!(
        (public.daemon.metric("sluice_guest_credentials_rate_limited_total") - 1.0).abs()
            < f64::EPSILON
    );
    assert_eq!(public.database.value("SELECT count(*) FROM guest_credentials"), "2");
}

#[test]
fn behind_a_trusted_proxy_each_address_and_all_together_have_a_limit() {
    let settings = [
        ("PUBLIC_CREDENTIALS_PER_MINUTE", "1"),
        ("PUBLIC_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8"),
        ("PUBLIC_MAX_GUESTS", "2"),
    ];
    let public = PublicDaemon::with(&settings);
    public.post("X-Forwarded-For: 192.0.2.1\r\n").ok(201);
    public.post("X-Forwarded-For: 192.0.2.1\r\n").problem(429, "too-many-requests");
    // What the client wrote itself, to the left of what the proxy added, changes nothing.
    public
        .post("X-Forwarded-For: 198.51.100.7, 192.0.2.1, 10.1.1.1\r\n")
        .problem(429, "too-many-requests");
    public.post("X-Forwarded-For: 192.0.2.2\r\n").ok(201);
    let full = public.post("X-Forwarded-For: 192.0.2.3\r\n");
    full.problem(503, "unavailable");
    assert!(full.head.contains("retry-after: 60"), "{}", full.head);
    assert!(
        (public.daemon.metric("sluice_guest_credentials_full_total") - 1.0).abs() < f64::EPSILON
    );
}

#[test]
fn without_an_address_nothing_is_public_and_expired_credentials_are_deleted() {
    let row = "INSERT INTO guest_credentials VALUES (gen_random_uuid(), sha256('x'), now() - interval '2 h', now())";
    let started = TestDaemon::builder().registry(row).start();
    let api = started.listening("HTTP_BIND");
    for (method, path) in [("GET", "/public"), ("POST", "/public/credentials")] {
        ask(api, method, path, "Host: localhost\r\n", b"").problem(404, "no-such-path");
    }
    started.database.wait_until("SELECT count(*) FROM guest_credentials", "0");
    let shown = started
        .settings
        .set("PUBLIC_BIND", &format!("127.0.0.1:{api}"))
        .command(&["config", "check"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(
        shown.status.code() == Some(78)
            && said.contains("PUBLIC_BIND")
            && said.contains("HTTP_BIND"),
        "{said}"
    );
}
