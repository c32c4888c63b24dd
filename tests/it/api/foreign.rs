//! Pages of other sites, opened in a browser on this machine: they change nothing here and read
//! nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::client::{ApiDaemon, TOKEN};
use crate::support::browser::Browser;
use crate::support::port;

const HASH: &str = "SELECT provision_token_hash FROM devices WHERE device_id = 'pump-1'";

const TOKEN_PATH: &str = "/api/v1/tenants/acme/devices/pump-1/token";

/// A daemon without an admin token, with a device.
fn api() -> ApiDaemon {
    let api = ApiDaemon::open(&[]);
    api.post("/tenants", &json!({ "tenant_id": "acme" })).ok(201);
    api.post("/tenants/acme/devices", &json!({ "device_id": "pump-1" })).ok(201);
    api
}

/// A foreign site on this machine, with one empty page; it ends with the test process.
fn site() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>a page</title><form method=post></form>";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n",
                page.len()
            );
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{page}").as_bytes());
        }
    });
    port
}

#[test]
fn a_page_of_another_site_in_a_real_browser_changes_nothing() {
    let api = api();
    let (before, port) = (api.database.value(HASH), site());
    let mut browser = Browser::start();
    let target = format!("http://127.0.0.1:{}{TOKEN_PATH}", api.port);
    for host in ["127.0.0.1", "localhost"] {
        let page = browser.open(&format!("http://{host}:{port}/"));
        browser.wait_until(&page, "document.title", &json!("a page"));
        for init in [
            "{method:'POST',mode:'no-cors'}",
            "{method:'POST',mode:'no-cors',body:'x'}",
            "{method:'DELETE'}",
        ] {
            let sent =
                format!("fetch('{target}', {init}).then((said) => said.type, () => 'failed')");
            let said = browser.evaluate(&page, &sent);
            assert!(said == "opaque" || said == "failed", "{host} {init}: {said}");
        }
        let form =
            format!("document.forms[0].action = '{target}'; document.forms[0].submit(); 'sent'");
        browser.evaluate(&page, &form);
        browser.wait_until(
            &page,
            "document.body?.innerText.includes('a page of another site')",
            &json!(true),
        );
    }
    assert_eq!(api.database.value(HASH), before);
    // The same call of a program is answered.
    api.send("POST", TOKEN_PATH, "Host: localhost\r\n", b"").ok(201);
    assert_ne!(api.database.value(HASH), before);
}

#[test]
fn a_browser_request_from_a_foreign_page_is_refused_with_and_without_token() {
    for (api, bearer) in
        [(api(), String::new()), (ApiDaemon::start(), format!("Authorization: Bearer {TOKEN}\r\n"))]
    {
        let own = format!("Host: localhost:{}\r\n{bearer}", api.port);
        let ask = |headers: &str| api.send("POST", TOKEN_PATH, &format!("{own}{headers}"), b"");
        for foreign in [
            "Origin: https://evil.example\r\n",
            "Origin: null\r\n",
            "Origin: http://localhost:1\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
        ] {
            let said = ask(foreign).detail(403, "forbidden");
            assert!(said.contains("a page of another site"), "{foreign}: {said}");
        }
        let same =
            format!("Origin: http://localhost:{}\r\nSec-Fetch-Site: same-origin\r\n", api.port);
        assert_ne!(ask(&same).status, 403);
    }
}

#[test]
fn without_a_token_no_form_changes_anything_and_no_foreign_page_reads() {
    let api = api();
    let ask = |method: &str, headers: &str| {
        api.send(method, TOKEN_PATH, &format!("Host: localhost\r\n{headers}"), b"").status
    };
    for kind in
        ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"]
    {
        assert_eq!(ask("POST", &format!("Content-Type: {kind}\r\n")), 415, "{kind}");
    }
    let read = api.send(
        "GET",
        "/api/v1/tenants",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
        b"",
    );
    read.problem(403, "forbidden");
}

#[test]
fn a_request_names_one_host_at_every_listener() {
    let [ops, hooks, public] = [(); 3].map(|()| port::free());
    let at = |port: u16| format!("127.0.0.1:{port}");
    let binds = [("OPS_BIND", at(ops)), ("HOOKS_BIND", at(hooks)), ("PUBLIC_BIND", at(public))];
    let binds: Vec<(&str, &str)> =
        binds.iter().map(|(name, bind)| (*name, bind.as_str())).collect();
    let api = ApiDaemon::open(&binds);
    for (port, path) in
        [(api.port, "/api/v1/tenants"), (ops, "/livez"), (hooks, "/mqtt/user"), (public, "/public")]
    {
        let ask = |headers: &str| super::client::ask(port, "GET", path, headers, b"");
        for hosts in
            ["Host: localhost\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"]
        {
            let said = ask(hosts).detail(400, "bad-request");
            assert!(said.contains("more than one Host"), "{path}: {said}");
        }
        assert!(ask("").detail(400, "bad-request").contains("no Host"), "{path}");
        let absolute = super::client::ask(
            port,
            "GET",
            &format!("http://evil.example{path}"),
            "Host: localhost\r\n",
            b"",
        );
        assert!(absolute.detail(400, "bad-request").contains("different hosts"), "{path}");
    }
    // A name of another site that leads to the loopback is not answered where no secret is asked
    // for.
    super::client::ask(ops, "GET", "/metrics", "Host: evil.example\r\n", b"")
        .problem(403, "forbidden");
    super::client::ask(ops, "GET", "/livez", "Host: [::1]:9\r\n", b"");
    let question = "Host: localhost\r\nContent-Type: text/plain\r\nOrigin: http://evil.example\r\n";
    super::client::ask(hooks, "POST", "/mqtt/user", question, b"{}").problem(403, "forbidden");
}
