//! A person signs in and out, and no one else reaches a page.

use super::browser::Browser;
use crate::api::client::{TOKEN, builder};

const WRONG: &str = "sluice_op_0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn only_a_person_who_is_signed_in_reaches_a_page() {
    let it = builder().database().start();
    let port = it.listening("HTTP_BIND");
    let nobody = Browser::new(port);
    assert_eq!(nobody.get("/console").redirected(), "/console/login?next=%2fconsole");
    let deep = "/console/devices?search=a%3Ab";
    let next = "/console/login?next=%2fconsole%2fdevices%3fsearch%3da%253ab";
    assert_eq!(nobody.get(deep).redirected(), next);
    let partial = nobody.get_with("/console", "HX-Request: true\r\n");
    let expected = Some("/console/login?next=%2fconsole".to_owned());
    assert_eq!((partial.status, partial.header("hx-redirect")), (401, expected));
    let page = nobody.get("/console/login");
    assert!(page.page().contains("name=\"token\""), "{page:?}");
    let refused = nobody.post("/console/login", &[("token", WRONG)]);
    assert_eq!((refused.status, refused.header("set-cookie")), (401, None));
    assert!(refused.text().contains("The token is wrong"), "{}", refused.text());
    for answer in [&page, &refused, &nobody.get("/console"), &nobody.get("/console/assets/0/x")] {
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(answer.head.contains(header), "{header} is missing from\n{}", answer.head);
        }
    }

    let admin = Browser::new(port);
    let next = "/console?back=1";
    let answer = admin.post("/console/login", &[("token", TOKEN), ("next", next)]);
    assert_eq!(answer.redirected(), next);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("sluice_session="), "{cookie}");
    assert!(cookie.ends_with("; path=/; httponly; samesite=lax"), "{cookie}");
    admin.read_token();
    assert_eq!(admin.api("GET", "/me", None).ok(200)["actor"], "console:admin");
    assert_eq!(admin.api("GET", "/sessions", None).ok(200)["items"][0]["method"], "admin-token");

    let session = admin.cookie("sluice_session").unwrap();
    assert_eq!(admin.post("/console/logout", &[]).redirected(), "/console/login");
    assert_eq!(admin.cookie("sluice_session"), None);
    // The cookie of before opens nothing.
    admin.set_cookie("sluice_session", &session);
    assert_eq!(admin.get("/console").status, 303);
    admin.api("GET", "/me", None).problem(401, "unauthorized");
    let actions = it.database.value("SELECT string_agg(action, ' ' ORDER BY id) FROM audit_log");
    assert_eq!(actions, "console.login_refused console.login console.logout");
    it.daemon.terminate();
    let log = it.daemon.log();
    assert!(!log.contains(TOKEN) && !log.contains(&session) && !log.contains(WRONG), "a secret");
}

#[test]
fn a_login_leads_to_no_other_site_and_keeps_no_cookie_of_before() {
    let it = builder().database().start();
    let port = it.listening("HTTP_BIND");
    let planted = "a".repeat(64);
    for next in ["//evil.example", "https://evil.example/console", "/\\evil.example", "/api/v1/me"]
    {
        let browser = Browser::new(port);
        browser.set_cookie("sluice_session", &planted);
        let answer = browser.post("/console/login", &[("token", TOKEN), ("next", next)]);
        assert_eq!(answer.redirected(), "/console", "{next}");
        assert_ne!(browser.cookie("sluice_session").unwrap(), planted);
        browser.set_cookie("sluice_session", &planted);
        assert_eq!(browser.get("/console").status, 303, "the planted cookie opens nothing");
    }
    assert_eq!(
        it.database.value("SELECT count(DISTINCT session_sha256) FROM console_sessions"),
        "4"
    );
}

#[test]
fn the_sixth_wrong_try_of_an_address_waits_whatever_it_sends() {
    let it = builder().set("CONSOLE_TRUSTED_PROXIES", "127.0.0.1").database().start();
    let port = it.listening("HTTP_BIND");
    let browser = Browser::new(port);
    let from = |address: &str, token: &str| {
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-For: {address}\r\n"
        );
        browser.send("POST", "/console/login", &headers, format!("token={token}").as_bytes())
    };
    let tries: Vec<_> = (0..5).map(|_| from("2001:db8::1", WRONG).status).collect();
    assert_eq!(tries, [401; 5]);
    // An IPv6 customer has a whole /64.
    let sixth = from("2001:db8::2", TOKEN);
    assert_eq!(sixth.status, 429, "{}", sixth.text());
    assert!(sixth.header("retry-after").unwrap().parse::<u32>().unwrap() <= 12, "{}", sixth.head);
    // Another one is not hindered, and a login that succeeds counts nothing.
    for _ in 0..7 {
        assert_eq!(from("2001:db8:0:1::1", TOKEN).status, 303);
    }
    assert_eq!(from("127.0.0.9", WRONG).status, 401);
    it.daemon.wait_metric("sluice_console_logins_total{result=\"rate_limited\"}", 1.0);
    it.daemon.wait_metric("sluice_console_logins_total{result=\"opened\"}", 7.0);
    let refused = "SELECT count(*) FROM audit_log WHERE action = 'console.login_refused'";
    assert_eq!(it.database.value(refused), "6");
}

#[test]
fn a_change_is_accepted_from_a_page_of_its_own_session_only() {
    let it = builder().database().start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    let (own, csrf) = (admin.origin(), admin.csrf());
    let theme = |token: &str, site: &str, origin: &str| {
        let fields = [("name", "theme"), ("value", "dark"), ("back", "/console"), ("csrf", token)];
        admin.post_as("/console/preferences", &fields, site, origin).status
    };
    assert_eq!(theme(&csrf, "same-origin", &own), 303);
    let grafana = "http://localhost:3000";
    for (token, site, origin) in [
        (csrf.as_str(), "same-site", grafana),
        (csrf.as_str(), "same-origin", grafana),
        (csrf.as_str(), "cross-site", "https://evil.example"),
        (csrf.as_str(), "none", own.as_str()),
        (csrf.as_str(), "same-origin", "null"),
        ("", "same-origin", own.as_str()),
        (&"0".repeat(64), "same-origin", own.as_str()),
    ] {
        assert_eq!(theme(token, site, origin), 403, "{token} {site} {origin}");
    }
    let other = Browser::signed_in(admin.port, TOKEN);
    assert_eq!(theme(&other.csrf(), "same-origin", &own), 403, "the token of another session");

    // The API by the cookie: the header, and a page that says where it is from.
    let add = |headers: &str| {
        let body = br#"{"tenant_id": "acme"}"#;
        let headers = format!("Content-Type: application/json\r\n{headers}");
        admin.send("POST", "/api/v1/tenants", &headers, body)
    };
    let token = format!("X-CSRF-Token: {csrf}\r\n");
    for headers in [
        String::new(),
        token.clone(),
        "Sec-Fetch-Site: same-origin\r\n".to_owned(),
        format!("{token}Sec-Fetch-Site: same-site\r\nOrigin: {grafana}\r\n"),
        format!("{token}Sec-Fetch-Site: none\r\n"),
        format!("X-CSRF-Token: {}\r\nSec-Fetch-Site: same-origin\r\n", other.csrf()),
    ] {
        add(&headers).problem(403, "forbidden");
    }
    add(&format!("{token}Sec-Fetch-Site: same-origin\r\n")).ok(201);
    let actor = "SELECT actor FROM audit_log WHERE action = 'tenant.add'";
    assert_eq!(it.database.value(actor), "console:admin");

    // A name that resolves to this machine is not the console's.
    let wrong = admin.get_with("/console", "Host: evil.example:8080\r\n");
    assert_eq!(wrong.status, 303, "{}", wrong.head);
    let headers = "Host: evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("token={TOKEN}");
    let refused = admin.send("POST", "/console/login", headers, body.as_bytes());
    assert_eq!((refused.status, refused.header("set-cookie")), (403, None));
}
