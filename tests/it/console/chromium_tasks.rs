//! What a stranger does at the console, each with the number of clicks that is enough.

use super::fleet::Fleet;
use super::person::Person;

#[test]
fn the_top_reason_of_refusals_and_when_it_began_in_one_click() {
    let mut person = Person::admin(Fleet::shared(), "top-reason");
    person.sees("UNREGISTERED_DEVICE");
    let shown = person.shown();
    let at = shown.find("unregistered_device").unwrap();
    assert!(shown[at..].contains("began"), "{shown}");
    person.click("link", "UNREGISTERED_DEVICE*");
    person.is_at("/console/quarantine?search=reason%3AUNREGISTERED_DEVICE");
    person.sees("All between");
    person.needed_at_most(1);
    person.assert_clean();
}

#[test]
fn a_device_is_found_from_any_page_by_keyboard_alone() {
    let mut person = Person::admin(Fleet::shared(), "by-keyboard");
    for page in ["/console", "/console/quarantine", "/console/certificates"] {
        person.open(page);
        person.press("Ctrl-k");
        person.browser.wait_until(&person.page, "document.activeElement.id", &"jump".into());
        person.write("climate-7");
        person.sees("acme / climate-7");
        person.press("Enter");
        person.is_at("/console/devices/acme/climate-7");
        person.sees("Why it is accepted or refused");
    }
    person.open("/console/audit");
    person.press("/");
    person.browser.wait_until(
        &person.page,
        "document.activeElement.id.includes('search')",
        &true.into(),
    );
    person.press("Escape");
    person.press("g d");
    person.is_at("/console/devices");
    person.press("j j Enter");
    person.is_at("/console/devices/acme/");
    person.press("?");
    person.sees("Previous row");
    person.needed_at_most(0);
    person.assert_clean();
}

#[test]
fn devices_that_are_silent_for_five_minutes_as_csv_in_three_clicks() {
    let fleet = Fleet::shared();
    fleet.database().query(
        "UPDATE device_state SET last_seen_at = now() WHERE device_id LIKE 'climate-%' AND device_id NOT IN ('climate-3', 'climate-4')",
    );
    let mut person = Person::admin(fleet, "silent");
    person.click("link", "Devices");
    person.is_at("/console/devices");
    person.search("silent:5m climate-*");
    person.is_at("/console/devices?search=silent");
    person.sees("climate-4");
    let rows = person.rows();
    assert!(rows.len() == 2 && rows[0].contains("climate-3"), "{rows:?}");
    let csv =
        person.read("fetch(document.querySelector('a[download]').href).then((csv) => csv.text())");
    let csv = csv.as_str().unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains("climate-3") && csv.contains("climate-4"), "{csv}");
    person.click("link", "CSV");
    person.needed_at_most(3);
    // The way back, and a reload, lead to the same rows.
    person.click("link", "climate-4");
    person.is_at("/console/devices/acme/climate-4");
    person.back();
    assert_eq!(person.rows(), rows);
    person.reload();
    assert_eq!(person.rows(), rows);
    person.assert_clean();
}

#[test]
fn why_a_device_is_not_accepted_in_one_sentence_in_three_clicks() {
    let mut person = Person::admin(Fleet::shared(), "why");
    person.click("link", "Devices");
    person.is_at("/console/devices");
    person.search("stolen");
    person.click("link", "stolen");
    person.sees("Why it is accepted or refused");
    person.sees("REVOKED");
    person.needed_at_most(3);
    person.assert_clean();
}

#[test]
fn an_unknown_device_is_registered_and_its_messages_are_replayed_in_six_clicks() {
    let fleet = Fleet::shared();
    let mut person = Person::admin(fleet, "register-and-replay");
    register_and_replay(&mut person, "unknown-2", 5);
    person.needed_at_most(6);
    person.assert_clean();
    let stored = "SELECT count(*) FROM telemetry WHERE device_id = 'unknown-2'";
    fleet.database().wait_until(stored, "5");
}

/// From the Overview to the telemetry table; `docs/tutorial/console.md` shows the same steps.
pub fn register_and_replay(person: &mut Person, device: &str, messages: usize) {
    person.click("link", "UNREGISTERED_DEVICE*");
    person.is_at("/console/quarantine");
    person.click("link", &format!("acme/{device}*"));
    person.sees("What fixes UNREGISTERED_DEVICE");
    person.click("button", "Add this device");
    person.sees("added");
    person.click("button", &format!("Dry run {messages}"));
    person.sees("would be stored");
    person.click("button", &format!("Replay these {messages}"));
    person.sees("Replay done");
    person.is_at("/console/quarantine");
}

/// The steps of `docs/tutorial/console.md`.
#[test]
fn the_tutorial_goes_from_a_link_to_stored_messages() {
    let fleet = Fleet::shared();
    let mut person = Person::outside(fleet, "tutorial");
    person.open(&fleet.link("admin"));
    person.click("button", "Sign in");
    person.is_at("/console");
    person.sees("Refused, last hour");
    person.click("link", "SITE_MISMATCH_REGISTRY_VS_PAYLOAD*");
    person.is_at("/console/quarantine");
    person.sees("What fixes SITE_MISMATCH_REGISTRY_VS_PAYLOAD");
    person.read("document.querySelector('table.list th a').click()");
    person.sees("Why it was refused");
    person.sees("would be refused");
    person.sees("elsewhere");
    person.click("DisclosureTriangle", "Check by check");
    person.click("link", "acme/moved-away*");
    person.is_at("/console/devices/acme/moved-away");
    person.click("link", "Edit");
    person.fill("Site*", "elsewhere");
    person.click("button", "Save");
    person.is_at("/console/devices/acme/moved-away");
    person.sees("site elsewhere");
    person.open("/console");
    person.click("link", "SITE_MISMATCH_REGISTRY_VS_PAYLOAD*");
    person.is_at("/console/quarantine");
    person.click("button", "Dry run*");
    person.sees("would be stored");
    person.click("button", "Replay these 4");
    fleet
        .database()
        .wait_until("SELECT count(*) FROM telemetry WHERE device_id = 'moved-away'", "4");
    person.assert_clean();
}

#[test]
fn a_certificate_is_revoked_and_the_last_proven_step_is_shown_in_five_clicks() {
    let mut person = Person::admin(Fleet::shared(), "revoke");
    person.click("link", "Certificates");
    person.is_at("/console/certificates");
    person.search("device:pump-1");
    person.click("link", "Revoke…");
    person.click("button", "Revoke…");
    person.sees("Revoke this certificate of acme/pump-1?");
    person.fill("It cannot be undone*", "pump-1");
    person.answer("Revoke");
    for step in ["row", "CRL", "reload", "session", "proof"] {
        person.sees(step);
    }
    person.sees("Proven: the broker refuses the certificate");
    let times = person.read("document.querySelectorAll('#chain li time').length");
    assert_eq!(times, 5, "each step has its time");
    person.needed_at_most(5);
    person.assert_clean();
}

#[test]
fn which_certificates_end_next_month_in_two_clicks() {
    let mut person = Person::admin(Fleet::shared(), "ending");
    person.click("link", "Certificates");
    person.is_at("/console/certificates");
    person.search("status:ACTIVE ends:<30d");
    person.is_at("/console/certificates?search=status%3AACTIVE");
    person.sees("climate-4");
    let rows = person.rows().join("\n");
    assert!(rows.contains("climate-1") && rows.contains("climate-4"), "{rows}");
    assert!(!rows.contains("climate-6"), "{rows}");
    person.needed_at_most(2);
    person.assert_clean();
}

#[test]
fn may_alice_subscribe_and_which_rule_says_so_in_four_clicks() {
    let mut person = Person::admin(Fleet::shared(), "access");
    person.click("link", "Access");
    person.is_at("/console/access");
    person.fill("Client: kind and name", "user:alice");
    person.fill("Groups", "viewers");
    person.fill("Topic or filter", "plant/+/alerts/#");
    person.press("Enter");
    person.is_at("/console/access?");
    person.sees("denied");
    person.sees("rules[2]");
    person.needed_at_most(4);
    person.assert_clean();
}

#[test]
fn who_registered_a_device_in_three_clicks() {
    let mut person = Person::admin(Fleet::shared(), "who");
    person.press("Ctrl-k");
    person.browser.wait_until(&person.page, "document.activeElement.id", &"jump".into());
    person.write("pump-9");
    person.press("Enter");
    person.is_at("/console/devices/acme/pump-9");
    person.click("link", "Audit ›");
    person.is_at("/console/audit?");
    person.sees("device.add");
    person.sees("cli:");
    person.needed_at_most(3);
    person.assert_clean();
}

#[test]
fn the_command_that_does_the_same_in_one_click() {
    let mut person = Person::admin(Fleet::shared(), "same-by");
    person.open("/console/devices?search=silent%3A1h");
    person.click("DisclosureTriangle", "The same by command and curl");
    person.sees("sluice device list --search silent:1h");
    person.sees("/api/v1/devices?search=silent");
    person.needed_at_most(1);
    person.assert_clean();
}
