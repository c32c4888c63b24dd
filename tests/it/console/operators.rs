//! The page of operators: who may use the console by name, with a token that is shown once, and what
//! ends with a change of it.

use super::browser::{Browser, between};
use crate::api::client::{TOKEN, builder};
use crate::support::wait;

const PATH: &str = "/console/operators";

fn notice(browser: &Browser) -> String {
    let page = browser.get(PATH).page();
    let text = between(&page, "<div class=\"notice", "</div>").expect("a notice");
    between(text, "<p>", "</p>").unwrap().to_lowercase()
}

fn form<'a>(name: &'a str, role: &'a str, tenant: &'a str) -> [(&'static str, &'a str); 3] {
    [("name", name), ("role", role), ("tenant", tenant)]
}

/// The token on the page that answers.
fn token(page: &str) -> String {
    let token = between(page, "<pre><code>sluice_op_", "</code>").expect("a token");
    format!("sluice_op_{token}")
}

#[test]
fn an_admin_adds_changes_and_removes_operators_and_each_token_is_shown_once() {
    let tenants = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'A'), ('zeta', 'Z');
        INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1'), ('zeta', 'meter-1')";
    let it = builder().registry(tenants).start();
    let port = it.listening("HTTP_BIND");
    wait::until("the login works", || {
        Browser::new(port).post("/console/login", &[("token", TOKEN)]).status == 303
    });
    let admin = Browser::signed_in(port, TOKEN);
    assert!(admin.get(PATH).page().contains("sluice operator add NAME"), "an empty list says how");

    let made = admin.post(PATH, &form("alice", "operator", "")).page();
    let alice = token(&made);
    let list = admin.get(PATH).page();
    assert!(list.contains("alice") && !list.contains(&alice), "shown once: {list}");
    let bound = token(&admin.post(PATH, &form("zoe", "admin", "zeta")).page());
    for (form, status) in [
        (form("alice", "viewer", ""), 409),
        (form("bob", "viewer", "nobody"), 422),
        (form("bob", "root", ""), 400),
        (form("\"><img src=x>", "viewer", ""), 400),
    ] {
        let refused = admin.post(PATH, &form);
        assert_eq!(refused.status, status, "{form:?} {}", refused.text());
        assert!(!refused.text().contains("<img"), "{}", refused.text());
    }

    // A role is in force at once: the sessions of the old one end.
    let as_alice = Browser::signed_in(port, &alice);
    assert_eq!(as_alice.get("/console/devices").status, 200);
    assert_eq!(as_alice.get(PATH).status, 403, "operators do not see operators");
    assert!(!as_alice.get("/console").page().contains(&format!("href=\"{PATH}\"")));
    let viewer = [("role", "viewer"), ("tenant", "acme")];
    admin.post(&format!("{PATH}/alice/role"), &viewer).redirected();
    assert_eq!(notice(&admin), "alice is viewer now; the operator&#39;s sessions ended");
    assert_eq!(as_alice.get("/console/devices").status, 303, "to the login");
    let as_alice = Browser::signed_in(port, &alice);
    let page = as_alice.get("/console/devices").page();
    assert!(page.contains("pump-1") && !page.contains("meter-1"), "{page}");

    an_admin_of_a_tenant_changes_that_tenant_only(port, &bound);

    // Another token ends the old one; the removal ends all.
    let newer = token(&admin.post(&format!("{PATH}/alice/token"), &[]).page());
    assert_eq!(as_alice.get("/console/devices").status, 303);
    assert_eq!(Browser::new(port).post("/console/login", &[("token", &alice)]).status, 401);
    let as_alice = Browser::signed_in(port, &newer);
    let page = admin.get(PATH).page();
    let session = between(&page, "action=\"/console/sessions/", "/end\"").unwrap();
    admin.post(&format!("/console/sessions/{session}/end"), &[]);
    admin.post(&format!("{PATH}/alice/remove"), &[]).redirected();
    assert_eq!(as_alice.get("/console/devices").status, 303);
    assert_eq!(Browser::new(port).post("/console/login", &[("token", &newer)]).status, 401);
    // Without an operator the admin token and the one-time link still sign in.
    admin.post(&format!("{PATH}/zoe/remove"), &[]);
    let admin = Browser::signed_in(port, TOKEN);
    assert!(admin.get(PATH).page().contains("There is none yet"));
    let audited =
        "SELECT string_agg(action || ' ' || (detail->>'operator'), ',' ORDER BY id) FROM audit_log
        WHERE action LIKE 'operator.%' AND actor = 'console:admin'";
    let audited = it.database.value(audited);
    assert_eq!(audited.matches("operator.").count(), 6, "{audited}");
    let secrets = "SELECT count(*) FROM audit_log WHERE detail::text LIKE '%sluice_op_%'";
    assert_eq!(it.database.value(secrets), "0");
}

fn an_admin_of_a_tenant_changes_that_tenant_only(port: u16, token: &str) {
    let zoe = Browser::signed_in(port, token);
    assert!(zoe.get("/console/devices").page().contains("meter-1"));
    assert_eq!(zoe.get(PATH).status, 403);
    assert_eq!(zoe.post(PATH, &form("eve", "admin", "")).status, 403);
    assert_eq!(zoe.post(&format!("{PATH}/zoe/role"), &[("role", "admin")]).status, 403);
    let add = |tenant| [("tenant", tenant), ("device", "new"), ("proof", "none")];
    assert_eq!(zoe.post("/console/devices/new", &add("zeta")).status, 200);
    assert_eq!(zoe.post("/console/devices/new", &add("acme")).status, 403);
}
