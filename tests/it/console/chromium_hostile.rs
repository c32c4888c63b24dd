//! What a malicious device, a foreign page and a person without the role cannot do at the console.

use serde_json::json;

use super::browser::Browser;
use super::chromium_pages::pages;
use super::fleet::{Fleet, HOSTILE};
use super::person::Person;
use crate::api::client::TOKEN;

/// What would be there if a text of the attacker were taken for markup, or for a template.
const TAKEN: &str = "document.querySelectorAll('img[src=\"x\"], [onerror]').length + \
    (document.body.innerText.includes('alert(1)>49') ? 1 : 0)";

#[test]
fn no_text_of_a_device_becomes_part_of_a_page() {
    let mut person = Person::admin(Fleet::shared(), "hostile");
    let evil = super::browser::encoded(HOSTILE);
    let mut all = pages(&mut person);
    for number in 1..=3 {
        for view in ["", "?view=text", "?view=hex", "?view=text&whole=1"] {
            all.push(format!(
                "/console/quarantine/00000000-0000-4000-8000-00000000000{number}{view}"
            ));
        }
    }
    for list in ["devices", "quarantine", "certificates", "audit", "live", "go"] {
        all.push(format!("/console/{list}?search={evil}"));
    }
    all.push(format!("/console/access?who={evil}&groups={evil}&topic={evil}&action=subscribe"));
    all.push(format!("/console/devices/{evil}/{evil}"));
    all.push(format!("/console/no-such-page/{evil}"));
    for page in all {
        person.open(&page);
        assert_eq!(person.read(TAKEN), 0, "{page}");
        let findings = person.findings();
        // The browser itself logs that a page has the status of an error.
        let findings: Vec<_> = findings
            .iter()
            .filter(|finding| !finding.contains("the server responded with a status of 4"))
            .collect();
        assert!(findings.is_empty(), "{page}: {findings:#?}");
    }
    person.open("/console/devices/acme/evil");
    person.sees("{{7*7}}");
}

#[test]
fn a_page_of_another_port_changes_nothing_with_the_cookie() {
    let fleet = Fleet::shared();
    let mut person = Person::admin(fleet, "foreign-page");
    // Any page of another port of this host: the cookie goes with its requests.
    let ops = format!("http://127.0.0.1:{}/livez", fleet.settings.port("OPS_BIND"));
    person.open(&ops);
    let forged = format!(
        "(() => {{ const form = document.createElement('form'); form.method = 'post'; \
            form.action = 'http://127.0.0.1:{}/console/devices/acme/two-editors/status'; \
            const field = document.createElement('input'); field.name = 'status'; field.value = 'INACTIVE'; form.append(field); \
            document.body.append(form); form.submit(); }})()",
        fleet.port
    );
    person.read(&forged);
    person.browser.wait_until(
        &person.page,
        "location.pathname.startsWith('/console')",
        &json!(true),
    );
    person.loaded();
    let status =
        fleet.database().value("SELECT status FROM devices WHERE device_id = 'two-editors'");
    assert_eq!(status, "ACTIVE");
}

#[test]
fn a_viewer_sees_no_button_that_changes_something_and_no_form_works() {
    let fleet = Fleet::shared();
    let mut viewer = Person::by_link(fleet, "viewer", "viewer");
    // Colours are a person's own, and the doctor only looks again.
    let forms = "[...document.querySelectorAll('main form[method=post], dialog form[method=post], [popover] form[method=post]')]\
        .filter((form) => form.querySelector('button:not([type=button])') !== null)\
        .map((form) => form.getAttribute('action'))\
        .filter((action) => !['/console/preferences', '/console/doctor/run'].includes(action))";
    for page in pages(&mut viewer) {
        viewer.open(&page);
        let found = viewer.read(forms);
        assert_eq!(found, json!([]), "{page}");
    }
    // The forms that an admin has do nothing for a viewer.
    let mut admin = Person::admin(fleet, "viewer-admin");
    let browser = Browser::new(fleet.port);
    let token =
        fleet.settings.run(&["operator", "add", "vera", "--role", "viewer", "--output", "json"]);
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let answer = browser.post("/console/login", &[("token", token["token"].as_str().unwrap())]);
    assert_eq!(answer.redirected(), "/console");
    browser.read_token();
    let before = fleet.database().value("SELECT max(id) FROM audit_log WHERE actor = 'console:vera' AND action NOT LIKE 'console.%'");
    for page in pages(&mut admin) {
        admin.open(&page);
        let actions: Vec<String> = serde_json::from_value(admin.read(forms)).unwrap();
        for action in actions.into_iter().filter(|action| !action.is_empty()) {
            let answer = browser.post(
                &action,
                &[("typed", "x"), ("status", "INACTIVE"), ("search", "tenant:acme")],
            );
            assert!([303, 400, 403, 404, 422].contains(&answer.status), "{action}: {answer:?}");
        }
    }
    let after = fleet.database().value("SELECT max(id) FROM audit_log WHERE actor = 'console:vera' AND action NOT LIKE 'console.%'");
    assert_eq!(after, before, "a viewer has changed something");
}

#[test]
fn a_tab_whose_session_ended_elsewhere_goes_to_the_login_and_comes_back() {
    let fleet = Fleet::shared();
    let mut person = Person::admin(fleet, "ended-session");
    person.open("/console/devices?search=climate-7");
    let other = person.tab("/console");
    person.browser.evaluate(
        &other,
        "document.querySelector('form[action=\"/console/logout\"]').requestSubmit()",
    );
    person.browser.wait_until(&other, "location.pathname", &json!("/console/login"));
    // A link of the page that is still open.
    person.click("link", "climate-7");
    person.is_at("/console/login?next=");
    person.fill("Token", TOKEN);
    person.press("Enter");
    person.is_at("/console/devices/acme/climate-7");
}

#[test]
fn an_overview_whose_session_ends_goes_to_the_login_by_itself() {
    let fleet = Fleet::shared();
    let mut person = Person::admin(fleet, "ended-live");
    let other = person.tab("/console/devices");
    person.browser.evaluate(
        &other,
        "document.querySelector('form[action=\"/console/logout\"]').requestSubmit()",
    );
    // Nothing of a tab that is hidden is refreshed.
    person.front();
    person.is_at("/console/login?next=");
}

#[test]
fn the_second_of_two_editors_overwrites_nothing_of_the_first() {
    let fleet = Fleet::shared();
    let mut first = Person::admin(fleet, "first-editor");
    let mut second = Person::admin(fleet, "second-editor");
    for person in [&mut first, &mut second] {
        person.open("/console/devices/acme/two-editors/edit");
    }
    first.fill("Site*", "north");
    first.press("Enter");
    first.is_at("/console/devices/acme/two-editors");
    first.sees("site north");
    second.fill("Site*", "south");
    second.press("Enter");
    second.sees("changed");
    let site =
        fleet.database().value("SELECT site_id FROM devices WHERE device_id = 'two-editors'");
    assert_eq!(site, "north", "the second editor has seen another value");
}
