//! Certificates, the authority and enrolment codes in a browser: what ends, what is revoked, and
//! after a revocation the steps as a real broker makes them hold.

use std::fs;

use serde_json::json;

use super::browser::{Browser, between};
use crate::api::client::TOKEN;
use crate::api::with_authority::{ApiWithAuthority, id};
use crate::compose::stack::Stack;
use crate::revocation::revocation_stack::RevocationStack;
use crate::support::wait::for_some;

const HOSTILE: &str = "INSERT INTO device_certificates (id, tenant_id, device_id, fingerprint_sha256, serial_number,
    common_name, issuer, not_before, not_after) VALUES ('00000000-0000-0000-0000-00000000000f', 'acme', 'pump-2',
    repeat('f', 64), 'ff', '\"><img src=x onerror=alert(1)>', 'CN=<b>', now(), now() + interval '10 days')";

#[test]
fn a_certificate_is_found_rotated_and_revoked_from_pages() {
    let api = ApiWithAuthority::start();
    api.ca.database.query(HOSTILE);
    let issued = api.issued("dev");
    let admin = Browser::signed_in(api.port, TOKEN);
    let list = admin.get("/console/certificates").page();
    for text in [
        "2 found",
        "Active certificates by the week of their end",
        "href=\"/console/certificates?search=status%3AACTIVE+ends%3A%3C30d&#38;sort=end\"",
        "curl -H",
        "cert expiry",
    ] {
        assert!(list.contains(text), "{text} is missing from\n{list}");
    }
    assert!(!list.contains("<img") && !list.contains("style="), "{list}");
    assert!(list.len() < 60_000, "{} bytes", list.len());
    let week =
        between(&list, "<a href=\"/console/certificates?search=status%3AACTIVE+ends%3A20", "\"");
    let week = week.expect("a bar is a link").replace("&#38;", "&");
    let found = admin.get(&format!("/console/certificates?search=status%3AACTIVE+ends%3A20{week}"));
    found.page();
    let wrong = admin.get("/console/certificates?search=colour%3Ared").page();
    assert!(wrong.contains("unknown key `colour`; the keys are"), "{wrong}");
    assert!(wrong.contains("value=\"colour:red\""), "what was typed stays: {wrong}");
    let csv = admin.get("/console/certificates.csv?search=pump-1").page();
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.contains("acme,pump-1,ACTIVE"), "{csv}");

    let page = format!("/console/certificates/{}", id(&issued));
    let shown = admin.get(&page).page();
    assert!(
        shown.contains("clientAuth") && shown.contains("-----BEGIN CERTIFICATE-----"),
        "{shown}"
    );
    assert!(admin.get(&format!("{page}/pem")).page().starts_with("-----BEGIN CERTIFICATE"));

    let rotated = admin.post(&format!("{page}/rotate"), &[("key", "new"), ("grace_hours", "2")]);
    let new = rotated.page();
    assert!(new.contains("-----BEGIN PRIVATE KEY-----") && new.contains("download=\"pump-1.key\""));
    let again = admin.post(&format!("{page}/rotate"), &[("key", "new")]);
    assert_eq!(again.status, 409, "{}", again.text());
    let wrong = admin.post(&format!("{page}/renew"), &[("key", "csr"), ("csr", "hello")]);
    assert!((400..500).contains(&wrong.status), "{}", wrong.text());

    let reason = ("reason", "keyCompromise");
    let untyped = admin.post(&format!("{page}/revoke"), &[reason, ("typed", "pump-2")]);
    assert_eq!(untyped.redirected(), page);
    assert!(admin.get(&page).page().to_lowercase().contains("nothing was revoked"));
    assert_eq!(api.ca.fate(id(&issued)), ["ACTIVE", "NULL"]);
    let revoked = admin.post(&format!("{page}/revoke"), &[reason, ("typed", "pump-1")]);
    assert_eq!(revoked.redirected(), format!("{page}#chain"));
    assert_eq!(api.ca.fate(id(&issued)), ["REVOKED", "keyCompromise"]);
    let audited = "SELECT actor FROM audit_log WHERE action = 'certificate.revoke'";
    assert_eq!(api.ca.database.value(audited), "console:admin");
}

#[test]
fn certificates_of_selected_devices_are_rotated_and_revoked_and_each_is_audited() {
    let api = ApiWithAuthority::start();
    let first = api.issued("dev");
    let admin = Browser::signed_in(api.port, TOKEN);
    let chosen = |act| [("act", act), ("device", "acme/pump-1"), ("device", "acme/pump-2")];
    let sure = |act, typed| [&chosen(act)[..], &[("sure", "1"), ("typed", typed)]].concat();
    let count = |of: &str| api.ca.database.value(&format!("SELECT count(*) FROM {of}"));
    let question = admin.post("/console/devices/selected", &chosen("rotate")).page();
    assert!(question.contains("Rotate the certificates of 2 devices?"), "{question}");
    assert_eq!(count("device_certificates"), "1", "the question changes nothing");
    let made = admin.post("/console/devices/selected", &sure("rotate", "")).page();
    assert_eq!(made.matches("-----BEGIN PRIVATE KEY-----").count(), 2, "{made}");
    assert!(!made.contains("not rotated"), "{made}");
    let each =
        "audit_log WHERE action LIKE 'certificate.%' AND actor = 'console:admin' AND device_id = ";
    for device in ["pump-1", "pump-2"] {
        assert_eq!(count(&format!("{each}'{device}'")), "1", "{device}");
    }

    let question = admin.post("/console/devices/selected", &chosen("revoke")).page();
    assert!(question.contains("It cannot be undone") && question.contains("data-typed=\"2\""));
    let back = admin.post("/console/devices/selected", &sure("revoke", "1")).redirected();
    assert_eq!((back.as_str(), count("revoked_certificates").as_str()), ("/console/devices", "0"));
    let reason = ("reason", "keyCompromise");
    let form = [&sure("revoke", "2")[..], &[reason]].concat();
    let list = admin.post("/console/devices/selected", &form).redirected();
    let page = admin.get(&list).page().to_lowercase();
    assert!(page.contains("3 certificates of 2 devices revoked"), "{page}");
    assert_eq!(api.ca.fate(id(&first)), ["REVOKED", "keyCompromise"]);
    let revoked = "audit_log WHERE action = 'certificate.revoke' AND actor = 'console:admin'";
    assert_eq!(count(revoked), "3", "one entry for each certificate");
    assert_eq!(count("device_certificates WHERE status = 'ACTIVE'"), "0");
}

#[test]
fn a_viewer_sees_certificates_and_has_no_button_and_codes_are_made_by_an_admin() {
    let api = ApiWithAuthority::start();
    let issued = api.issued("dev");
    let made = api.post("/operators", &json!({ "name": "vera", "role": "viewer" })).ok(201);
    let viewer = Browser::signed_in(api.port, made["token"].as_str().unwrap());
    let page = format!("/console/certificates/{}", id(&issued));
    let shown = viewer.get(&page).page();
    assert!(!shown.contains("Revoke…") && !shown.contains("name=\"csr\""), "{shown}");
    let refused =
        viewer.post(&format!("{page}/revoke"), &[("reason", "superseded"), ("typed", "pump-1")]);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(viewer.get("/console/ca").status, 200);

    let admin = Browser::signed_in(api.port, TOKEN);
    let fields =
        [("tenant", "acme"), ("device", "pump-*"), ("max_uses", "3"), ("adds_devices", "1")];
    let made = admin.post("/console/enrolment-codes", &fields).page();
    let code = between(&made, "<pre><code>", "</code>").unwrap();
    let list = admin.get("/console/enrolment-codes?tenant=acme").page();
    assert!(list.contains("pump-*") && list.contains("0 of 3") && !list.contains(code), "{list}");
    let row = between(&list, "name=\"code\" value=\"", "\"").unwrap();
    let fields = [("tenant", "acme"), ("code", row)];
    admin.post("/console/enrolment-codes/revoke", &fields).redirected();
    assert!(admin.get("/console/enrolment-codes?tenant=acme").page().contains("REVOKED"));
    assert_eq!(viewer.post("/console/enrolment-codes", &fields).status, 400);
}

#[test]
fn a_revocation_from_the_page_is_shown_up_to_the_proof_at_the_broker() {
    let stack = RevocationStack::around(Stack::start());
    let settings = stack.settings("sluice").set("ADMIN_TOKEN", TOKEN).set("CONSOLE", "1");
    let daemon = settings.start();
    daemon.wait_ready();
    daemon.wait_metric("sluice_crl_enforced", 1.0);
    let admin = Browser::signed_in(settings.port("HTTP_BIND"), TOKEN);
    let one = "SELECT id FROM device_certificates WHERE device_id = 'pump-1'";
    let page = format!("/console/certificates/{}", stack.database.value(one));
    let form = [("reason", "keyCompromise"), ("typed", "pump-1")];
    admin.post(&format!("{page}/revoke"), &form).redirected();
    let part = for_some("the proof is on the page", || {
        let part = admin.get_with(&format!("{page}/chain"), "HX-Request: true\r\n");
        part.text().contains("Proven").then_some(part)
    });
    assert_eq!(part.header("x-sluice-live").as_deref(), Some("end"));
    assert_eq!(part.text().matches("ok-text").count(), 5, "{}", part.text());
    assert!(!stack.stack.lets_in("pump-1"), "the broker refuses it");
    let shown = admin.get(&page).page();
    assert!(shown.contains("Proven") && !shown.contains("data-live=\"/console/cert"), "{shown}");
    let ca = admin.get("/console/ca").page();
    assert!(ca.contains("enforced") && ca.contains("as published"), "{ca}");
    let crl = admin.api("GET", "/crl", None).ok(200);
    assert_eq!((&crl["enforced"], &crl["unproven"]), (&true.into(), &0.into()), "{crl}");

    // The file is not what was published: the page says so first.
    fs::write(stack.stack.path("crl/device-crl.pem"), "x").unwrap();
    let ca = for_some("the page says that the file is wrong", || {
        let ca = admin.get("/console/ca").page();
        ca.contains("The CRL file is wrong").then_some(ca)
    });
    assert!(ca.contains("repairs the file"), "{ca}");
}

#[test]
fn where_the_broker_does_not_reload_the_page_names_the_step_and_what_to_do() {
    let mut stack = Stack::prepared();
    stack.launch_alone();
    let stack = RevocationStack::around(stack);
    // It writes where the broker does not look.
    let settings = stack.settings("sluice").set("ADMIN_TOKEN", TOKEN).set("CONSOLE", "1");
    let daemon = settings.start();
    daemon.wait_unready_for("accepts a certificate that the CRL revokes");
    let admin = Browser::signed_in(settings.port("HTTP_BIND"), TOKEN);
    let one = "SELECT id FROM device_certificates WHERE device_id = 'pump-1'";
    let page = format!("/console/certificates/{}", stack.database.value(one));
    let form = [("reason", "superseded"), ("typed", "pump-1")];
    admin.post(&format!("{page}/revoke"), &form).redirected();
    let shown = for_some("the page says what failed", || {
        let shown = admin.get(&page).page();
        shown.contains("Not done: ").then_some(shown)
    });
    let failed = between(&shown, "<span class=\"bad-text\">", "</li>").unwrap();
    assert!(failed.contains("<b>Reload</b>") && failed.contains("crlfile"), "{failed}");
    assert!(failed.contains("accepts a certificate that the CRL revokes"), "{failed}");
    assert!(shown.contains("data-live=\"/console/certificates/"), "{shown}");
    let ca = admin.get("/console/ca").page();
    assert!(ca.contains("does not enforce the CRL") && ca.contains("SIGHUP"), "{ca}");
    let unproven = admin.get("/console/certificates?search=proven%3Ano").page();
    assert!(unproven.contains("1 found"), "{unproven}");
}
