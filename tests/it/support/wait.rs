//! Waiting for conditions, never for time. A wait that fails shows the end of the log of each
//! server of its test.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::read_log;

/// Generous: on a loaded machine a slow test is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// How much of a log is shown.
const TAIL_LINES: usize = 40;

thread_local! {
    /// The logs of this test's servers; a test is a thread.
    static LOGS: RefCell<Vec<(String, PathBuf)>> = const { RefCell::new(Vec::new()) };
}

/// Waits until the condition holds; `what` completes "waited 60 s until".
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_some(what, || condition().then_some(()));
}

/// Waits until there is a value.
pub fn for_some<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, || probe().ok_or_else(String::new))
}

/// Waits until a probe succeeds; a failure shows what it said last.
pub fn for_ok<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    within(DEADLINE, what, probe)
}

/// The same, for a bound that is itself under test.
pub fn within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if start.elapsed() > limit => {
                panic!("waited {limit:?} until {what}\n{last}{}", log_tails())
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}

/// From now on, failures of this test show the end of this log.
pub fn show_on_failure(name: &str, log: &Path) {
    LOGS.with_borrow_mut(|logs| {
        if !logs.iter().any(|(_, known)| known == log) {
            logs.push((name.to_owned(), log.to_owned()));
        }
    });
}

/// The end of each log of this test.
pub fn log_tails() -> String {
    LOGS.with_borrow(|logs| {
        let mut text = String::new();
        for (name, path) in logs {
            let log = read_log(path);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            write!(text, "\n--- {name} ---\n{}", tail.join("\n")).unwrap();
        }
        text
    })
}
