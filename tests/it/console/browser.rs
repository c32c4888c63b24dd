//! A browser without a window: it keeps its cookies, sends what browsers send, and follows no
//! redirect by itself.
//!
//! ```ignore
//! let daemon = builder().database().start();
//! let admin = Browser::signed_in(daemon.listening("HTTP_BIND"), TOKEN);
//! let page = admin.get("/console/devices").page();
//! admin.post("/console/devices/acme/pump-1/status", &[("status", "INACTIVE")]).redirected();
//! admin.api("GET", "/me", None).ok(200);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::client::{Answer, ask};

/// A browser at one address of the loopback.
#[derive(Clone, Debug)]
pub struct Browser {
    pub port: u16,
    cookies: RefCell<BTreeMap<String, String>>,
    /// The token of the session, which each change repeats.
    csrf: RefCell<String>,
}

// === impl Browser ===

impl Browser {
    /// Without a session.
    pub fn new(port: u16) -> Self {
        Self { port, cookies: RefCell::default(), csrf: RefCell::default() }
    }

    /// Signed in by a token: `ADMIN_TOKEN`, or that of an operator.
    pub fn signed_in(port: u16, token: &str) -> Self {
        let browser = Self::new(port);
        let answer = browser.post("/console/login", &[("token", token)]);
        assert_eq!(answer.redirected(), "/console", "{answer:?}");
        browser.read_token();
        browser
    }

    /// Loads a page.
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// Loads a page, or a part of one, with more headers.
    pub fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.send("GET", path, &format!("Sec-Fetch-Site: same-origin\r\n{headers}"), b"")
    }

    /// Sends a form with the token of the session.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf.borrow().clone();
        let all: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.post_as(path, &all, "same-origin", &self.origin())
    }

    /// Sends a form as a page of `origin` does: nothing is added to it but the cookies.
    pub fn post_as(&self, path: &str, fields: &[(&str, &str)], site: &str, origin: &str) -> Answer {
        let body: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: {site}\r\nOrigin: {origin}\r\n"
        );
        self.send("POST", path, &headers, body.join("&").as_bytes())
    }

    /// Calls the API by the cookie, as a page does by its script; `path` is below `/api/v1`.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let csrf = self.csrf.borrow().clone();
        let kind = body.map(|_| "Content-Type: application/json\r\n").unwrap_or_default();
        let headers = format!("Sec-Fetch-Site: same-origin\r\nX-CSRF-Token: {csrf}\r\n{kind}");
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, &format!("/api/v1{path}"), &headers, body.as_bytes())
    }

    /// Sends a request with the cookies, and keeps those that the answer sets.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let cookies: Vec<_> =
            self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = if cookies.is_empty() {
            String::new()
        } else {
            format!("Cookie: {}\r\n", cookies.join("; "))
        };
        let host = if headers.contains("Host: ") {
            String::new()
        } else {
            format!("Host: localhost:{}\r\n", self.port)
        };
        let answer = ask(self.port, method, path, &format!("{host}{cookies}{headers}"), body);
        self.keep(&answer);
        answer
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.borrow().get(name).cloned()
    }

    /// Sets a cookie, as a foreign page of this host could.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// The token of the session.
    pub fn csrf(&self) -> String {
        self.csrf.borrow().clone()
    }

    /// The same session at another replica.
    pub fn at(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// The address of its pages.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Reads the token of the session from a page.
    pub fn read_token(&self) {
        let page = self.get("/console").page();
        let token = between(&page, "name=\"csrf\" value=\"", "\"").expect("a form with the token");
        token.clone_into(&mut self.csrf.borrow_mut());
    }

    fn keep(&self, answer: &Answer) {
        let lines = answer.sent_head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        for line in lines {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').expect("a cookie");
            if attributes.to_lowercase().contains("max-age=0") {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    /// The text of a page with status 200.
    pub fn page(&self) -> String {
        assert_eq!(self.status, 200, "{}\n{}", self.head, self.text());
        self.text()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Where a redirect after an action leads.
    pub fn redirected(&self) -> String {
        assert_eq!(self.status, 303, "{}\n{}", self.head, self.text());
        self.header("location").expect("a location")
    }

    /// A header, in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        let line = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned);
        self.head.lines().find_map(line)
    }
}

/// What stands between two texts.
pub fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}

/// A text as a form encodes it.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
