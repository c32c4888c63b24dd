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
    assert_eq!(
        nobody.get("/console/devices?search=a%3Ab").redirected(),
        "/console/login?next=%2fconsole%2fdevices%3fsearch%3da%253ab"
    );
    let part = nobody.get_with("/console", "HX-Request: true\r\n");
    assert_eq!(
        (part.status, part.header("hx-redirect")),
        (401, Some("/console/login?next=%2fconsole".into()))
    );
    let page = nobody.get("/console/login");
    assert!(page.page().contains("name=\"token\""), "{page:?}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: same-origin",
        "cross-origin-opener-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(page.head.contains(header), "{header} is missing from\n{}", page.head);
    }

    let refused = nobody.post("/console/login", &[("token", WRONG)]);
    assert_eq!((refused.status, refused.header("set-cookie")), (401, None));
    assert!(refused.text().contains("The token is wrong"), "{}", refused.text());

    let admin = Browser::new(port);
    let next = "/console?back=1";
    let answer = admin.post("/console/login", &[("token", TOKEN), ("next", next)]);
    assert_eq!(answer.redirected(), next);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("sluice_session="), "{cookie}");
    assert!(cookie.ends_with("; path=/; httponly; samesite=lax"), "{cookie}");
    admin.read_token();
    assert_eq!(admin.api("GET", "/me", None).ok(200)["actor"], "console:admin");

    let session = admin.cookie("sluice_session").unwrap();
    assert_eq!(admin.post("/console/logout", &[]).redirected(), "/console/login");
    assert_eq!(admin.cookie("sluice_session"), None);
    // The cookie of before opens nothing.
    admin.set_cookie("sluice_session", &session);
    assert_eq!(admin.get("/console").status, 303);
    admin.api("GET", "/me", None).problem(401, "unauthorized");
    let actions = it.database.value("SELECT string_agg(action, ' ' ORDER BY id) FROM audit_log");
    assert_eq!(actions, "console.login_refused console.login console.logout");
}
