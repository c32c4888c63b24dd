//! The page Live in a real browser: rows come by themselves, Pause holds them, a hostile payload stays
//! text, and tabs that are not seen hold no stream.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::client::{TOKEN, builder};
use crate::support::browser::{Browser, Page};
use crate::support::device::Device;
use crate::support::wait;

const REGISTRY: &str = "INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
    INSERT INTO devices (tenant_id, device_id) VALUES ('acme', 'pump-1')";

const TOPIC: &str = "tenant/acme/device/pump-1/telemetry";

const HOSTILE: &str = r#"{"metrics":{"t":1},"note":"\"><img src=x onerror=document.title='run'>"}"#;

const ROWS: &str = "document.querySelectorAll('[data-stream] tbody tr').length";

const STATE: &str = "document.querySelector('[data-stream]')?.dataset.state";

const WAITING: &str = "document.querySelector('[data-waiting]').innerText";

/// Signs in by a request of the login page, which stays open.
fn sign_in(browser: &mut Browser, port: u16) {
    let page = browser.open(&format!("http://localhost:{port}/console/login"));
    browser.wait_until(
        &page,
        "document.readyState + location.pathname",
        &json!("complete/console/login"),
    );
    let request = format!(
        "fetch('/console/login', {{ method: 'POST', body: new URLSearchParams({{ token: '{TOKEN}' }}) }}).then((answer) => answer.url)"
    );
    let url = browser.evaluate(&page, &request);
    assert!(url.as_str().unwrap().ends_with("/console"), "{url}");
}

fn row(browser: &mut Browser, page: &Page) -> Value {
    browser.evaluate(page, "document.querySelector('[data-stream] tbody tr').innerText")
}

#[test]
fn rows_come_by_themselves_and_wait_while_the_page_is_paused() {
    let it = builder().broker().registry(REGISTRY).set("REQUIRE_TOKEN", "0").start_ready();
    let port = it.listening("HTTP_BIND");
    let mut browser = Browser::start();
    sign_in(&mut browser, port);
    let url = format!("http://localhost:{port}/console/live");
    let page = browser.open(&url);
    browser.wait_until(&page, STATE, &json!("open"));
    let mut device = Device::connect(it.broker.port(), "d");
    device.publish(TOPIC, HOSTILE);
    browser.wait_until(&page, ROWS, &json!(1));
    let text = row(&mut browser, &page);
    let text = text.as_str().unwrap();
    for part in ["accepted", "acme/pump-1", "telemetry", "onerror=document.title"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("refused") && !text.contains("duplicate"), "one badge: {text}");
    let link = "document.querySelector('[data-stream] tbody th a').getAttribute('href')";
    assert_eq!(browser.evaluate(&page, link), "/console/devices/acme/pump-1");
    assert_eq!(browser.evaluate(&page, "document.title"), "Live · Sluice");
    assert_eq!(browser.evaluate(&page, "document.querySelectorAll('main img').length"), 0);

    // Pause: the rows stay, and a number says how many wait.
    browser.evaluate(&page, "document.querySelector('[data-pause]').click()");
    for number in 0..3 {
        device.publish(TOPIC, format!("{{\"metrics\":{{\"t\":{number}}}}}"));
    }
    browser.wait_until(&page, WAITING, &json!("3 waiting"));
    assert_eq!(browser.evaluate(&page, ROWS), 1);
    browser.evaluate(&page, "document.querySelector('[data-pause]').click()");
    browser.wait_until(&page, ROWS, &json!(4));
    assert!(row(&mut browser, &page).as_str().unwrap().contains(r#"{"metrics":{"t":2}}"#));

    // What has come is on the page when it is loaded, from the list that the daemon keeps.
    let again = browser.open(&url);
    browser.wait_until(&again, ROWS, &json!(4));
}

#[test]
fn the_page_connects_again_and_tabs_that_are_not_seen_hold_no_stream() {
    let it = builder().broker().registry(REGISTRY).set("REQUIRE_TOKEN", "0").start_ready();
    let port = it.listening("HTTP_BIND");
    let mut browser = Browser::start();
    sign_in(&mut browser, port);
    let url = format!("http://localhost:{port}/console/live");
    let page = browser.open(&url);
    browser.wait_until(&page, STATE, &json!("open"));

    // A restart of the daemon: the page connects again.
    assert_eq!(it.daemon.terminate(), 0);
    browser.wait_until(&page, "document.querySelector('[data-when=lost]').hidden", &json!(false));
    it.daemon.start_again();
    it.daemon.wait_ready();
    browser.wait_until(&page, STATE, &json!("open"));

    // Seven tabs; the eighth page still loads.
    let tabs: Vec<Page> = (0..7).map(|_| browser.open(&url)).collect();
    let last = tabs.last().unwrap();
    browser.wait_until(last, STATE, &json!("open"));
    let begun = Instant::now();
    let eighth = browser.open(&format!("http://localhost:{port}/console/audit"));
    browser.wait_until(
        &eighth,
        "document.readyState + location.pathname",
        &json!("complete/console/audit"),
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let state = browser.evaluate(&page, "document.visibilityState");
    if state == "hidden" {
        wait::until("hidden tabs hold no stream", || {
            it.daemon.metric("sluice_live_listeners") < 1.5
        });
    }
}
