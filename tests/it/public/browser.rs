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

/// A browser that does not answer within this is hung, and the test fails.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// A running browser; it ends when this is dropped, or when the test process does and the pipe
/// closes.
pub struct Browser {
    process: Child,
    ask: ChildStdin,
    answers: Receiver<Vec<u8>>,
    calls: u64,
    _dir: Scratch,
}

/// A page of it.
pub struct Page(String);

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
        Self { process, ask, answers, calls: 0, _dir: dir }
    }

    pub fn open(&mut self, url: &str) -> Page {
        let target = self.call(None, "Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", &attach);
        Page(session["sessionId"].as_str().unwrap().to_owned())
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, page: &Page, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.call(Some(page), "Runtime.evaluate", &asked);
        assert!(said.get("exceptionDetails").is_none(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// Waits until an expression has this value.
    pub fn wait_until(&mut self, page: &Page, expression: &str, expected: &Value) {
        wait::for_ok(&format!("the page says {expected} to {expression}"), || {
            match self.evaluate(page, expression) {
                value if value == *expected => Ok(()),
                other => Err(format!(
                    "it says {other}; {}",
                    self.evaluate(page, "document.body?.innerText")
                )),
            }
        });
    }

    fn call(&mut self, page: Option<&Page>, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(Page(session)) = page {
            message["sessionId"] = json!(session);
        }
        self.ask.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.answers.recv_timeout(ANSWER_TIME);
            let answer = answer.unwrap_or_else(|error| {
                panic!("{method}: no answer, {error}{}", wait::log_tails())
            });
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            // Between the answers come events.
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
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
