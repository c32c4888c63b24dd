//! A real browser without a window: Chromium, controlled over its debugging pipe (JSON, each
//! message ended by NUL).
//!
//! It opens pages and reads what they show; it knows nothing of what should be there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dir::Scratch;
use crate::support::process::{find_program, search_path};
use crate::support::wait;

/// The pipe is expected at descriptors 3 and 4.
const WIRED: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#;

/// No sandbox: root has none, and the pages are ours. No phoning home.
const FLAGS: [&str; 12] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
];

/// So many events are kept until a test reads them.
const EVENTS_MAX: usize = 20_000;

/// A browser that does not answer within this is hung, and the test fails.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// A running browser; it ends when this is dropped, or when the test process does and the pipe
/// closes.
pub struct Browser {
    process: Child,
    ask: ChildStdin,
    answers: Receiver<Vec<u8>>,
    calls: u64,
    events: Vec<Value>,
    dir: Scratch,
}

/// A page of it.
#[derive(Clone)]
pub struct Page {
    session: String,
    target: String,
}

// === impl Browser ===

impl Browser {
    pub fn start() -> Self {
        let dir = Scratch::new("browser");
        let log = dir.path().join("log");
        wait::show_on_failure("chromium", &log);
        let program =
            find_program("chromium").expect("chromium is not installed; scripts/test installs it");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WIRED, "browser"]).arg(program).args(FLAGS);
        command
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg("about:blank");
        command
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", dir.path())
            .env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).unwrap());
        let mut process = command.spawn().unwrap();
        let (ask, answered) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (heard, answers) = sync_channel(16);
        std::thread::spawn(move || hear(answered, &heard));
        Self { process, ask, answers, calls: 0, events: Vec::new(), dir }
    }

    pub fn open(&mut self, url: &str) -> Page {
        let target = self.call(None, "Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", &attach);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Page { session: text(&session["sessionId"]), target: text(&target["targetId"]) }
    }

    /// Closes a page.
    pub fn close(&mut self, page: &Page) {
        self.call(None, "Target.closeTarget", &json!({ "targetId": page.target }));
    }

    /// Calls a method of the debugging protocol for a page.
    pub fn send(&mut self, page: &Page, method: &str, params: &Value) -> Value {
        self.call(Some(page), method, params)
    }

    /// A picture of a page, as PNG.
    pub fn picture(&mut self, page: &Page) -> Vec<u8> {
        let shot = self.call(Some(page), "Page.captureScreenshot", &json!({ "format": "png" }));
        decoded(shot["data"].as_str().unwrap())
    }

    /// The same, where an error is an answer.
    pub fn try_send(&mut self, page: &Page, method: &str, params: &Value) -> Result<Value, Value> {
        self.try_call(Some(page), method, params)
    }

    /// What happened in a page since this was called last, in the domains that are enabled.
    pub fn events(&mut self, page: &Page) -> Vec<Value> {
        // An answer comes after the events before it.
        self.call(Some(page), "Runtime.evaluate", &json!({ "expression": "1" }));
        let (of_page, others) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| event["sessionId"] == page.session.as_str());
        self.events = others;
        of_page
    }

    /// Where it keeps its files, and downloads.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, page: &Page, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.call(Some(page), "Runtime.evaluate", &asked);
        assert!(said.get("exceptionDetails").is_none(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// The same where a page that is being replaced has no value.
    fn value_now(&mut self, page: &Page, expression: &str) -> Result<Value, String> {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.try_call(Some(page), "Runtime.evaluate", &asked);
        let said = said.map_err(|error| error.to_string())?;
        match said.get("exceptionDetails") {
            Some(exception) => Err(exception.to_string()),
            None => Ok(said["result"]["value"].clone()),
        }
    }

    /// Waits until an expression has this value.
    pub fn wait_until(&mut self, page: &Page, expression: &str, expected: &Value) {
        wait::for_ok(&format!("the page says {expected} to {expression}"), || {
            match self.value_now(page, expression)? {
                value if value == *expected => Ok(()),
                other => Err(format!(
                    "it says {other}; {}",
                    self.value_now(page, "document.body?.innerText")?
                )),
            }
        });
    }

    fn call(&mut self, page: Option<&Page>, method: &str, params: &Value) -> Value {
        self.try_call(page, method, params)
            .unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    fn try_call(
        &mut self,
        page: Option<&Page>,
        method: &str,
        params: &Value,
    ) -> Result<Value, Value> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(page) = page {
            message["sessionId"] = json!(page.session);
        }
        self.ask.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.answers.recv_timeout(ANSWER_TIME);
            let answer = answer.unwrap_or_else(|error| {
                panic!("{method}: no answer, {error}{}", wait::log_tails())
            });
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.calls {
                return match answer.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(answer["result"].take()),
                };
            }
            // Between the answers come events.
            if answer.get("method").is_some() && self.events.len() < EVENTS_MAX {
                self.events.push(answer);
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with all its processes; one that does not is killed.
        let asked = self.ask.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if asked.is_ok() && !std::thread::panicking() {
            wait::until("the browser has ended", || !matches!(self.process.try_wait(), Ok(None)));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Forwards each message, until the browser or the receiver ends.
fn hear(answered: ChildStdout, heard: &SyncSender<Vec<u8>>) {
    for message in BufReader::new(answered).split(0) {
        let Ok(message) = message else { return };
        if heard.send(message).is_err() {
            return;
        }
    }
}

/// Base64 with its padding.
fn decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').collect();
    let mut bytes = Vec::with_capacity(text.len());
    for four in letters.chunks(4) {
        let bits = four.iter().fold(0u32, |bits, letter| bits << 6 | u32::from(value(*letter)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
