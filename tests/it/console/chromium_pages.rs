//! Every page of the console in Chromium: nothing for axe-core to find, in light and dark, on a
//! small screen and at 400 %; no request elsewhere; and the same with JavaScript off.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::fleet::Fleet;
use super::person::Person;
use crate::compose::stack::repository;
use crate::support::process::run_to_end;
use crate::support::time_bounds::{EIGHTH_TAB, PAGE_BYTES};
use crate::support::wait;

/// Where `tests/console/axe.sh` puts axe-core.
const PACKAGES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/axe");

/// Pages that the navigation does not name.
const MORE_PAGES: [&str; 13] = [
    "/console/devices/acme/climate-7",
    "/console/devices/acme/evil",
    "/console/devices/acme/climate-7/edit",
    "/console/devices/acme/climate-7/explain",
    "/console/devices/new",
    "/console/devices?search=stolen",
    "/console/certificates/00000000-0000-4000-8000-000000000101",
    "/console/enrolment-codes",
    "/console/enrolment-codes?tenant=acme",
    "/console/access?as=user:alice&groups=viewers&topic=plant/%2B/alerts/%23&action=subscribe",
    "/console/audit?search=device:pump-9",
    "/console/quarantine?search=reason%3AUNREGISTERED_DEVICE",
    "/console/quarantine/00000000-0000-4000-8000-000000000001",
];

/// The addresses of the navigation.
const NAVIGATION: &str =
    "[...document.querySelectorAll('header nav a')].map((link) => link.getAttribute('href'))";

/// The pages, from the navigation and beyond.
pub fn pages(person: &mut Person) -> Vec<String> {
    let named: Vec<String> = serde_json::from_value(person.read(NAVIGATION)).unwrap();
    assert!(named.len() >= 7, "{named:?}");
    named.into_iter().chain(MORE_PAGES.map(str::to_owned)).collect()
}

/// What axe-core finds on the page, one line for each element.
fn axe_findings(person: &mut Person) -> Vec<String> {
    static AXE: OnceLock<String> = OnceLock::new();
    let source = AXE.get_or_init(|| {
        drop(run_to_end(Command::new(repository("tests/console/axe.sh")).arg(PACKAGES)));
        fs::read_to_string(Path::new(PACKAGES).join("node_modules/axe-core/axe.min.js")).unwrap()
    });
    person.read(&format!("{source}; typeof axe"));
    let script = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.flatMap(\
        (rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 300)}`)))";
    serde_json::from_value(person.read(script)).unwrap()
}

/// The elements that reach beyond the right edge, the innermost first.
const TOO_WIDE: &str = "[...document.querySelectorAll('body *')].filter((one) => { \
        const box = one.getBoundingClientRect(); \
        return box.width > 0 && box.right > innerWidth + 1 && !one.closest('.scroll, svg, pre'); }) \
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`).slice(-3).join(' | ')";

/// Judges every page after `prepare`, and lists all that is found.
fn judge(name: &str, prepare: impl Fn(&mut Person)) {
    let fleet = Fleet::shared();
    let mut person = Person::outside(fleet, name);
    prepare(&mut person);
    let mut found = Vec::new();
    person.open("/console/login");
    found.extend(findings(&mut person, "/console/login"));
    person.open(&fleet.link("admin"));
    found.extend(findings(&mut person, "/console/link"));
    person.click("button", "Sign in");
    person.is_at("/console");
    for page in pages(&mut person) {
        person.open(&page);
        found.extend(findings(&mut person, &page));
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// What is wrong with the page that is shown.
fn findings(person: &mut Person, page: &str) -> Vec<String> {
    let mut found = axe_findings(person);
    let status = person.status();
    if status != 200 {
        found.push(format!("status {status}"));
    }
    // A page never scrolls sideways: only a table in it may.
    let overflow = person.read("document.documentElement.scrollWidth - window.innerWidth");
    if overflow.as_i64().unwrap() > 0 {
        found.push(format!("{overflow} pixels too wide: {}", person.read(TOO_WIDE)));
    }
    found.extend(person.findings());
    found.into_iter().map(|fault| format!("{page}: {fault}")).collect()
}

#[test]
fn axe_finds_nothing_in_light_colours() {
    judge("axe-light", |person| person.prefers("prefers-color-scheme", "light"));
}

#[test]
fn axe_finds_nothing_in_dark_colours() {
    judge("axe-dark", |person| person.prefers("prefers-color-scheme", "dark"));
}

#[test]
fn axe_finds_nothing_on_a_telephone() {
    judge("axe-telephone", |person| person.width(375, 667));
}

#[test]
fn axe_finds_nothing_at_400_percent() {
    // 1280 by 1024 pixels, each four times as large.
    judge("axe-zoomed", |person| person.width(320, 256));
}

#[test]
fn pages_read_the_same_after_back_and_reload_and_weigh_little() {
    let mut person = Person::admin(Fleet::shared(), "reload");
    for list in [
        "/console/devices?search=climate-*&sort=-last_heard",
        "/console/quarantine?search=device%3Aunknown-1",
        "/console/certificates?search=device%3Aclimate-1",
        "/console/audit?search=tenant%3Aacme",
    ] {
        person.open(list);
        let rows = person.rows();
        assert!(!rows.is_empty(), "{list}");
        person.reload();
        assert_eq!(person.rows(), rows, "{list}");
        person.open("/console");
        person.back();
        assert_eq!(person.rows(), rows, "{list}");
        assert_eq!(person.address(), list);
    }
    let sizes = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))\
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)";
    // A payload of 64 KiB that a malicious device sent weighs what it weighs.
    let ordinary = |page: &String| !page.contains("/console/quarantine/0");
    for page in pages(&mut person).into_iter().filter(ordinary) {
        person.open(&page);
        let bytes = person.read(sizes).as_u64().unwrap();
        assert!((1..=PAGE_BYTES).contains(&bytes), "{page} weighs {bytes} bytes");
    }
    person.assert_clean();
}

#[test]
fn without_javascript_every_list_reads_and_an_action_works() {
    let fleet = Fleet::shared();
    let mut person = Person::outside(fleet, "no-script");
    person.without_script();
    person.open(&fleet.link("admin"));
    person.click("button", "Sign in");
    person.is_at("/console");
    for page in pages(&mut person) {
        person.open(&page);
        let text = person.read("document.querySelector('main').innerText.length");
        assert!(text.as_u64().unwrap() > 20, "{page}");
        assert_eq!(person.read("document.querySelectorAll('main h1').length"), 1, "{page}");
    }
    person.open("/console/devices?search=spare");
    person.click("link", "spare");
    person.is_at("/console/devices/acme/spare");
    person.click("button", "Activate");
    person.sees("Activate this device?");
    person.answer("Activate");
    let status = "SELECT status FROM devices WHERE device_id = 'spare'";
    fleet.database().wait_until(status, "ACTIVE");
    person.is_at("/console/devices/acme/spare");
    register_without_script(&mut person, fleet);
    person.assert_clean();
}

/// A device from the quarantine, and its replay, by forms and reloads alone.
fn register_without_script(person: &mut Person, fleet: &Fleet) {
    person.open("/console/quarantine?search=device%3Aunknown-3%20reason%3AUNREGISTERED_DEVICE");
    person.click("button", "Add this device");
    person.sees("added");
    person.click("button", "Dry run*");
    // A reload before the answer would cancel the order.
    let is_ordered = "location.search.includes('replay=')";
    person.browser.wait_until(&person.page, is_ordered, &true.into());
    wait::until("the dry run has ended", || {
        person.reload_without_script();
        person.shows("would be stored")
    });
    person.click("button", "Replay these*");
    fleet
        .database()
        .wait_until("SELECT count(*) FROM telemetry WHERE device_id = 'unknown-3'", "5");
}

#[test]
fn the_eighth_tab_loads_while_seven_are_open() {
    let mut person = Person::admin(Fleet::shared(), "tabs");
    let live = [
        "/console",
        "/console/live",
        "/console",
        "/console/live",
        "/console/live",
        "/console",
        "/console/live",
    ];
    for path in live {
        person.tab(path);
    }
    let eighth = person.tab("/console/devices?search=climate-*");
    let took =
        person.browser.evaluate(&eighth, "performance.getEntriesByType('navigation')[0].duration");
    let took = took.as_f64().unwrap();
    assert!(took < EIGHTH_TAB.as_secs_f64() * 1000.0, "{took} ms");
    let rows = person.browser.evaluate(&eighth, "document.querySelectorAll('tbody tr').length");
    assert_ne!(rows, Value::from(0));
}
