//! The page in a real browser: it gets its credential, receives what is broadcast, and shows it as
//! text.

use serde_json::{Value, json};

use super::broker::Brokers;
use super::credentials::PublicDaemon;
use crate::support::browser::Browser;
use crate::support::wait;

const STATE: &str = "document.getElementById('state')?.dataset.state";
const SHOWN: &str = "[...document.querySelectorAll('#messages li')]\
    .map((item) => [item.querySelector('code').textContent, item.querySelector('pre').textContent])";

/// What would be run, if it were taken for markup.
const MARKUP: &str =
    "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script> \u{2603}";

/// The broker's answer to a guest that comes as somebody else, or asks for something else, as the
/// page words it.
fn refusal(client_id: &str, filter: &str) -> String {
    format!(
        "ask().then((given) => listen(given.websocket_url, {{ ...given, client_id_prefix: '{client_id}' }}, '{filter}', \
         performance.now() + 60000)).catch((error) => error.message)"
    )
}

#[test]
fn three_pages_hear_one_publisher_and_show_what_it_says_as_text() {
    let mut brokers = Brokers::start();
    let websockets = format!("ws://127.0.0.1:{}", brokers.websockets);
    let public = PublicDaemon::with(&[("PUBLIC_WEBSOCKET_URL", &websockets)]);
    let address = format!("http://127.0.0.1:{}/public", public.port);
    let mut browser = Browser::start();
    let pages =
        ["", "#public/news", "#public/%2B"].map(|topic| browser.open(&format!("{address}{topic}")));
    for page in &pages {
        browser.wait_until(page, STATE, &json!("subscribed"));
    }
    let issued = || public.database.value("SELECT count(*) FROM guest_credentials");
    assert_eq!(issued(), "3");

    brokers.broadcast("private/news", "not for guests");
    brokers.broadcast("public/news", MARKUP);
    let expected = json!([["public/news", MARKUP]]);
    for page in &pages {
        browser.wait_until(page, SHOWN, &expected);
        assert_ne!(browser.evaluate(page, "document.title"), "run");
        assert_eq!(
            browser.evaluate(
                page,
                "document.querySelectorAll('#messages img, #messages script').length"
            ),
            0
        );
    }

    for client_id in ["sluice", "acme/device/pump-1", "Public-"] {
        let said = browser.evaluate(&pages[0], &refusal(client_id, "public/#"));
        assert_eq!(said, "the broker refused the connection (reason code 0x87)", "{client_id}");
    }
    // A broker that went away is found again, with the credential there is.
    brokers.restart_guests();
    for page in &pages {
        wait::until("the page hears what is said since", || {
            brokers.broadcast("public/news", "we are back");
            browser.evaluate(page, &format!("{SHOWN}[0][1]")) == "we are back"
        });
    }
    assert_eq!(issued(), "6", "three for the pages, three for those who came as somebody else");
    let elsewhere = browser.open(&format!("{address}#private/news"));
    browser.wait_until(&elsewhere, STATE, &json!("refused"));
    // The page's own policy: it may connect nowhere else, and runs nothing that was written into
    // it.
    let blocked = "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'blocked')";
    assert_eq!(browser.evaluate(&pages[0], blocked), "blocked");
    assert_eq!(browser.evaluate(&pages[0], "document.scripts.length"), Value::from(1));
}
