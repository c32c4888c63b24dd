//! A person at the console, in Chromium: they read what is shown, click and type by the names that a
//! screen reader would say, and press keys. Clicks are counted.
//!
//! A page may send no request elsewhere, break no policy, and leave the log of the browser empty:
//! [`Person::assert_clean`] says so. A failed test leaves a picture of the page below
//! `target/tmp/console`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::support::browser::{Browser, Page};
use crate::support::wait;

/// Where pictures of failures are.
const PICTURES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/console");

/// Whether the page has loaded, with what it loads by itself.
const IS_LOADED: &str = "document.readyState == 'complete' && document.body != null \
    && document.querySelector('.htmx-request') == null";

/// All text that is shown, in lower case: the style may change the case.
const SHOWN: &str = "(document.body?.innerText ?? '').toLowerCase().replace(/\\s+/g, ' ')";

/// A person with one tab in front.
pub struct Person {
    pub browser: Browser,
    pub page: Page,
    origin: String,
    clicks: usize,
    name: String,
}

/// A key that is not a character: its name, its code of Windows, and the text that it enters.
const NAMED_KEYS: [(&str, u32, &str); 5] = [
    ("Enter", 13, "\r"),
    ("Escape", 27, ""),
    ("Tab", 9, "\t"),
    ("ArrowDown", 40, ""),
    ("Space", 32, " "),
];

// === impl Person ===

impl Person {
    /// At the login page, with a browser of their own.
    pub fn outside(fleet: &Fleet, name: &str) -> Self {
        Self::at(fleet.port, name)
    }

    /// The same at the console of this port.
    pub fn at(port: u16, name: &str) -> Self {
        let mut browser = Browser::start();
        let page = browser.open("about:blank");
        let origin = format!("http://127.0.0.1:{port}");
        let mut person = Self { browser, page, origin, clicks: 0, name: name.to_owned() };
        person.watch();
        person.width(1280, 900);
        person
    }

    /// Signed in by the link that `sluice console` prints, on the Overview.
    pub fn admin(fleet: &Fleet, name: &str) -> Self {
        Self::by_link(fleet, name, "admin")
    }

    /// The same with a role.
    pub fn by_link(fleet: &Fleet, name: &str, role: &str) -> Self {
        let mut person = Self::outside(fleet, name);
        person.open(&fleet.link(role));
        person.click("button", "Sign in");
        person.is_at("/console");
        person.clicks = 0;
        person
    }

    /// Opens a path of the console, and waits until it is loaded.
    pub fn open(&mut self, path: &str) {
        let url =
            if path.starts_with('/') { format!("{}{path}", self.origin) } else { path.to_owned() };
        let gone = self.browser.send(&self.page, "Page.navigate", &json!({ "url": url }));
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
        self.loaded();
    }

    /// Another tab with a path of the console, loaded, in front.
    pub fn tab(&mut self, path: &str) -> Page {
        let tab = self.browser.open(&format!("{}{path}", self.origin));
        // Every tab begins with an empty page, which is complete.
        let is_there = format!("location.href != 'about:blank' && {IS_LOADED}");
        self.browser.wait_until(&tab, &is_there, &json!(true));
        tab
    }

    /// Loads the page again.
    pub fn reload(&mut self) {
        self.read("window.isOld = true");
        self.browser.send(&self.page, "Page.reload", &json!({}));
        self.browser.wait_until(&self.page, "window.isOld === undefined", &json!(true));
        self.loaded();
    }

    /// The same where the page runs no script.
    pub fn reload_without_script(&mut self) {
        let here = self.address();
        self.open(&here);
    }

    /// Back in the history.
    pub fn back(&mut self) {
        let history = self.browser.send(&self.page, "Page.getNavigationHistory", &json!({}));
        let before = history["currentIndex"].as_u64().unwrap() - 1;
        let entry = &history["entries"][usize::try_from(before).unwrap()];
        let path = entry["url"].as_str().unwrap().to_owned();
        self.browser.send(
            &self.page,
            "Page.navigateToHistoryEntry",
            &json!({ "entryId": entry["id"] }),
        );
        self.browser.wait_until(&self.page, "location.href", &json!(path));
        self.loaded();
    }

    /// Clicks what has this role and this name; a name that ends with `*` is a beginning.
    pub fn click(&mut self, role: &str, name: &str) {
        let what = format!("a click on the {role} {name:?}");
        wait::for_ok(&what, || {
            let node = self.find(role, name)?;
            let said = |error: Value| error.to_string();
            let by_node = json!({ "backendNodeId": node });
            self.browser
                .try_send(&self.page, "DOM.scrollIntoViewIfNeeded", &by_node)
                .map_err(said)?;
            let quads =
                self.browser.try_send(&self.page, "DOM.getContentQuads", &by_node).map_err(said)?;
            let quad = quads["quads"][0].as_array().ok_or("it has no place")?;
            let at = |index: usize| {
                f64::midpoint(quad[index].as_f64().unwrap(), quad[index + 4].as_f64().unwrap())
            };
            self.mouse("mouseMoved", at(0), at(1));
            self.mouse("mousePressed", at(0), at(1));
            self.mouse("mouseReleased", at(0), at(1));
            Ok(())
        });
        self.clicks += 1;
    }

    /// Goes to the search box of the list, writes, and searches. It costs the click of a person who
    /// does not know the key `/`.
    pub fn search(&mut self, text: &str) {
        self.press("/");
        let is_there = "document.activeElement.id.includes('search')";
        self.browser.wait_until(&self.page, is_there, &json!(true));
        self.write(text);
        self.press("Enter");
        self.clicks += 1;
    }

    /// Presses the button of the question that is open.
    pub fn answer(&mut self, name: &str) {
        let script = "(name) => { const open = document.querySelector('[popover]:popover-open'); \
            const button = [...(open?.querySelectorAll('button') ?? [])].find((one) => one.textContent.trim() == name); \
            button?.click(); return button !== undefined; }";
        let script = format!("({script})({})", json!(name));
        self.browser.wait_until(&self.page, &script, &json!(true));
        self.clicks += 1;
    }

    /// Brings the tab to the front.
    pub fn front(&mut self) {
        self.browser.send(&self.page, "Page.bringToFront", &json!({}));
    }

    /// The status of the answer that is shown.
    pub fn status(&mut self) -> u64 {
        let script = "performance.getEntriesByType('navigation')[0].responseStatus";
        self.read(script).as_u64().unwrap()
    }

    /// Writes into the box of this name, which is empty afterwards but for it. It costs a click,
    /// unless the box has the focus.
    pub fn fill(&mut self, name: &str, text: &str) {
        let role = if self.find("searchbox", name).is_ok() { "searchbox" } else { "textbox" };
        let before = self.clicks;
        let has_focus = is_named(name, &self.focused());
        self.click(role, name);
        self.clicks = before + usize::from(!has_focus);
        self.read("document.activeElement.select?.()");
        self.write(text);
    }

    /// Enters a text where the focus is.
    pub fn write(&mut self, text: &str) {
        self.browser.send(&self.page, "Input.insertText", &json!({ "text": text }));
    }

    /// Presses keys one after the other: `g d`, `Ctrl-k`, `Enter`.
    pub fn press(&mut self, keys: &str) {
        for key in keys.split(' ') {
            let (control, key) = match key.strip_prefix("Ctrl-") {
                Some(key) => (2, key),
                None => (0, key),
            };
            let named = NAMED_KEYS.iter().find(|(name, ..)| *name == key);
            let (code, text) = match named {
                Some((_, code, text)) => (*code, (*text).to_owned()),
                None => (u32::from(key.to_uppercase().as_bytes()[0]), key.to_owned()),
            };
            let text = if control == 0 { text } else { String::new() };
            let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
            for kind in [down, "keyUp"] {
                let text = if kind == "keyDown" { text.as_str() } else { "" };
                let event = json!({ "type": kind, "key": key, "modifiers": control, "text": text,
                    "windowsVirtualKeyCode": code });
                self.browser.send(&self.page, "Input.dispatchKeyEvent", &event);
            }
        }
    }

    /// Waits until the page shows this text, whatever its case.
    pub fn sees(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        let expression = format!("{SHOWN}.includes({})", json!(wanted));
        self.browser.wait_until(&self.page, &expression, &json!(true));
    }

    /// Whether the page shows this text now.
    pub fn shows(&mut self, text: &str) -> bool {
        self.shown().contains(&text.to_lowercase())
    }

    /// All text that the page shows, in lower case.
    pub fn shown(&mut self) -> String {
        self.read(SHOWN).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the address begins so, and the page is loaded.
    /// The Overview is at its exact address, since those of all other pages begin with it.
    pub fn is_at(&mut self, path: &str) {
        let expression = match path {
            "/console" => "location.pathname == '/console'".to_owned(),
            _ => format!("(location.pathname + location.search).startsWith({})", json!(path)),
        };
        self.browser.wait_until(&self.page, &expression, &json!(true));
        self.loaded();
    }

    /// Path and query of the address.
    pub fn address(&mut self) -> String {
        self.read("location.pathname + location.search").as_str().unwrap().to_owned()
    }

    /// The text of each row of the lists. Ages are left out: they change.
    pub fn rows(&mut self) -> Vec<String> {
        let script = "[...document.querySelectorAll('main tbody tr')].map((row) => { \
            const copy = row.cloneNode(true); \
            copy.querySelectorAll('time').forEach((time) => time.textContent = time.dateTime); \
            return copy.textContent.replace(/\\s+/g, ' ').trim(); })";
        serde_json::from_value(self.read(script)).unwrap()
    }

    /// The value of an expression in the page.
    pub fn read(&mut self, expression: &str) -> Value {
        self.browser.evaluate(&self.page, expression)
    }

    /// The name of what has the focus: that of its label.
    pub fn focused(&mut self) -> String {
        let script = "(() => { const at = document.activeElement; \
            return (at?.getAttribute('aria-label') ?? at?.labels?.[0]?.textContent ?? '').trim(); })()";
        self.read(script).as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that so many clicks were enough, and begins to count again.
    pub fn needed_at_most(&mut self, clicks: usize) {
        assert!(self.clicks <= clicks, "{} clicks, and {clicks} are enough", self.clicks);
        self.clicks = 0;
    }

    /// Asserts that nothing was sent elsewhere, and that the log of the browser is empty.
    pub fn assert_clean(&mut self) {
        let found = self.findings();
        assert!(found.is_empty(), "{}: {found:#?}", self.name);
    }

    /// What the browser complained about since it was read last, and what was sent elsewhere.
    pub fn findings(&mut self) -> Vec<String> {
        let events = self.browser.events(&self.page);
        let origin = format!("{}/", self.origin);
        let faults = events.into_iter().filter_map(|event| {
            let (method, what) = (event["method"].as_str()?, &event["params"]);
            match method {
                "Network.requestWillBeSent" => {
                    let url = what["request"]["url"].as_str()?;
                    let is_own = url.starts_with(&origin) || url.starts_with("data:");
                    (!is_own).then(|| format!("a request to {url}"))
                }
                "Runtime.consoleAPICalled" => Some(format!("log: {}", what["args"])),
                "Runtime.exceptionThrown" => {
                    Some(format!("exception: {}", what["exceptionDetails"]))
                }
                "Log.entryAdded" if is_advice(&what["entry"]) => None,
                "Log.entryAdded" => Some(format!("log: {}", what["entry"])),
                "Page.javascriptDialogOpening" => Some(format!("a dialog: {}", what["message"])),
                _ => None,
            }
        });
        faults.collect()
    }

    /// The size of the window in CSS pixels.
    pub fn width(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.browser.send(&self.page, "Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the person prefers: `("prefers-color-scheme", "dark")`.
    pub fn prefers(&mut self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.browser.send(&self.page, "Emulation.setEmulatedMedia", &features);
    }

    /// Switches JavaScript of the pages off.
    pub fn without_script(&mut self) {
        let off = json!({ "value": true });
        self.browser.send(&self.page, "Emulation.setScriptExecutionDisabled", &off);
    }

    /// Waits until the page is loaded.
    pub fn loaded(&mut self) {
        self.browser.wait_until(&self.page, IS_LOADED, &json!(true));
    }

    /// A picture of the page.
    pub fn picture(&mut self, file: &Path) {
        fs::write(file, self.browser.picture(&self.page)).unwrap();
    }

    fn watch(&mut self) {
        for domain in ["Page", "Network", "Runtime", "Log", "DOM", "Accessibility"] {
            self.browser.send(&self.page, &format!("{domain}.enable"), &json!({}));
        }
    }

    /// What has this role and this name for a screen reader.
    fn find(&mut self, role: &str, name: &str) -> Result<Value, String> {
        let tree = self.browser.try_send(&self.page, "Accessibility.getFullAXTree", &json!({}));
        let tree = tree.map_err(|error| error.to_string())?;
        let nodes = tree["nodes"].as_array().ok_or("no tree")?;
        let shown = nodes.iter().filter(|node| node["ignored"] != true);
        let mut names = Vec::new();
        for node in shown.filter(|node| node["role"]["value"] == role) {
            let found = node["name"]["value"].as_str().unwrap_or_default().trim();
            if is_named(name, found) && node["backendDOMNodeId"].is_u64() {
                return Ok(node["backendDOMNodeId"].clone());
            }
            names.push(found.to_owned());
        }
        Err(format!("the page has these of the role {role}: {names:?}"))
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let pressed = u32::from(kind == "mousePressed");
        let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": pressed,
            "clickCount": u32::from(kind != "mouseMoved") });
        self.browser.send(&self.page, "Input.dispatchMouseEvent", &event);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A picture that fails hides no finding.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                fs::create_dir_all(PICTURES).unwrap();
                let file = Path::new(PICTURES).join(format!("{}.png", self.name));
                self.picture(&file);
                eprintln!("a picture of the page: {}", file.display());
            }));
        }
    }
}

/// Whether an entry of the log is no fault of the page: advice that nobody sees, and that the box of a
/// closed dialog got no focus because the address names a place of the page.
fn is_advice(entry: &Value) -> bool {
    let text = entry["text"].as_str().unwrap_or_default();
    entry["level"] == "verbose" || text.starts_with("Autofocus processing was blocked")
}

/// Whether a name is this one; one that ends with `*` is a beginning.
fn is_named(name: &str, found: &str) -> bool {
    name.strip_suffix('*').map_or(found == name, |beginning| found.starts_with(beginning))
}
