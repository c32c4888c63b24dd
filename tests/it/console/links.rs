//! The links: their list, a link with its dead letters, and what a person does with them. No lane
//! runs: the rows are written by SQL.

use serde_json::json;

use super::browser::Browser;
use crate::api::client::{TOKEN, builder};
use crate::api::linked::{FILE, ROWS};
use crate::support::wait;

#[test]
fn a_person_reads_links_and_works_on_what_they_did_not_accept() {
    let it = builder().database().file("LINKS_PATH", "links.toml", FILE).start();
    let admin = Browser::signed_in(it.listening("HTTP_BIND"), TOKEN);
    wait::until("the schema is there", || admin.api("GET", "/tenants", None).status == 200);
    it.database.query(ROWS);

    let list = admin.get("/console/links").page();
    assert!(
        list.contains("href=\"/console/links/azure\"") && list.contains("sluice link status"),
        "{list}"
    );
    let page = admin.get("/console/links/azure?reason=NOT_AUTHORIZED").page();
    for text in
        ["Lanes", "NOT_AUTHORIZED", "/console/links/azure/refused/2", "Retry those of the filter"]
    {
        assert!(page.contains(text), "{text} is missing from\n{page}");
    }
    assert!(!page.contains("/console/links/azure/refused/1"), "another reason is hidden");
    let letter = admin.get("/console/links/azure/refused/2").page();
    assert!(letter.contains("&#34;n&#34;: 2"), "{letter}");
    assert!(admin.get("/console/links/azure/refused/4").page().contains("ff00"));
    assert_eq!(admin.get("/console/links/nothing").status, 404);

    let left = || it.database.value("SELECT count(*) FROM link_refused");
    let dry = [("reason", "NOT_AUTHORIZED"), ("dry", "1")];
    let back = admin.post("/console/links/azure/retry", &dry).redirected();
    assert_eq!(back, "/console/links/azure?reason=not_authorized", "in lower case");
    let notice = admin.get("/console/links/azure?reason=NOT_AUTHORIZED").page();
    assert!(notice.contains("Dry run: 3 messages would be queued again"), "{notice}");
    assert_eq!(left(), "4");
    admin.post("/console/links/azure/retry", &[("id", "2")]).redirected();
    assert!(admin.get("/console/links/azure").page().contains("1 message wait"));
    assert_eq!(left(), "3");
    let discard = "/console/links/azure/refused/3/discard";
    admin.post(discard, &[("typed", "4")]).redirected();
    assert_eq!(left(), "3", "the typed identifier is another one");
    admin.post(discard, &[("typed", "3")]).redirected();
    assert_eq!(left(), "2");
    admin.post("/console/links/azure/refill", &[("since", "150m"), ("dry", "1")]).redirected();
    let counted = admin.get("/console/links/azure").page();
    assert!(counted.contains("Dry run: 2 messages"), "{counted}");

    let order = json!({ "name": "vera", "role": "viewer" });
    let token = admin.api("POST", "/operators", Some(&order)).ok(201)["token"].clone();
    let viewer = Browser::signed_in(admin.port, token.as_str().unwrap());
    let seen = viewer.get("/console/links/azure").page();
    assert!(!seen.contains("/retry\"") && !seen.contains("/refill\""), "{seen}");
    assert!(viewer.get("/console/links/azure/refused/1").page().contains("does not show payloads"));
    viewer.post("/console/links/azure/retry", &[("id", "1")]).redirected();
    assert_eq!(left(), "2", "a viewer changes nothing");
}
