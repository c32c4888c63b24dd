//! Peers of the tests: programs in Python and Node, with packages of other makers that
//! `tests/links/peers.sh` installs once.
//!
//! A peer prints lines; a test waits for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use serde_json::Value;

use crate::support::dir::Scratch;
use crate::support::process::{Launch, Process, find_program, run_to_end};
use crate::support::wait;

/// Where `tests/links/peers.sh` puts the packages; `scripts/test` has called it already.
const PACKAGES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/peers");

/// A running peer; it ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    /// Its log and the files that the test writes for it.
    _dir: Scratch,
}

/// A file of `tests/links`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/links").join(name)
}

/// A program of the Python packages, such as `moto_server`.
pub fn python_program(name: &str) -> PathBuf {
    packages().join("python/bin").join(name)
}

/// Runs a script of `tests/links` to its end; what it printed. A failure is a panic that shows it.
pub fn run_peer(script: &str, args: &[&str]) -> String {
    let program = interpreter(script);
    let mut command = Command::new(program);
    command.arg(source(script)).args(args).env("NODE_PATH", node_modules());
    run_to_end(&mut command)
}

/// The packages; the first call installs what is missing.
fn packages() -> &'static Path {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| drop(run_to_end(Command::new(source("peers.sh")).arg(PACKAGES))));
    Path::new(PACKAGES)
}

fn node_modules() -> PathBuf {
    packages().join("node_modules")
}

fn interpreter(script: &str) -> PathBuf {
    match script.rsplit_once('.') {
        Some((_, "py")) => python_program("python"),
        Some((_, "js")) => find_program("node").expect("node is not installed; scripts/test does"),
        _ => panic!("{script} is neither Python nor JavaScript"),
    }
}

// === impl Peer ===

impl Peer {
    /// Starts a script of `tests/links`.
    pub fn start(script: &str, args: &[&str]) -> Self {
        Self::start_with(script, args, &[])
    }

    /// The same, with environment variables.
    pub fn start_with(script: &str, args: &[&str], envs: &[(&str, &str)]) -> Self {
        let mut all = vec![source(script).to_str().unwrap().to_owned()];
        all.extend(args.iter().map(|text| (*text).to_owned()));
        Self::launch(script, &interpreter(script), all, envs)
    }

    /// Starts a program, such as `moto_server` of the Python packages.
    pub fn start_program(program: &Path, args: &[&str], envs: &[(&str, &str)]) -> Self {
        let args = args.iter().map(|text| (*text).to_owned()).collect();
        Self::launch(program.file_name().unwrap().to_str().unwrap(), program, args, envs)
    }

    fn launch(name: &str, program: &Path, args: Vec<String>, envs: &[(&str, &str)]) -> Self {
        let dir = Scratch::new("peer");
        let mut all = vec![
            ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
            ("NODE_PATH".to_owned(), node_modules().to_str().unwrap().to_owned()),
            ("HOME".to_owned(), dir.path().to_str().unwrap().to_owned()),
        ];
        all.extend(envs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let process = Process::start(Launch {
            name,
            program,
            args,
            envs: all,
            log: &dir.path().join("log"),
            dir: dir.path(),
            account: None,
            parting: "TERM",
        });
        Self { process, _dir: dir }
    }

    /// All that it has printed.
    pub fn lines(&self) -> Vec<String> {
        self.process.log().lines().map(str::to_owned).collect()
    }

    /// Waits for a line that holds these words, and returns it.
    pub fn wait_for(&mut self, words: &str) -> String {
        let what = format!("a peer prints {words}");
        wait::for_some(&what, || {
            let found = self.lines().into_iter().find(|line| line.contains(words));
            assert!(found.is_some() || self.process.is_running(), "it ended{}", wait::log_tails());
            found
        })
    }

    /// Waits until it has printed this many lines of JSON, and returns them.
    pub fn wait_json(&mut self, count: usize) -> Vec<Value> {
        wait::for_ok(&format!("a peer has printed {count} lines of JSON"), || {
            let found = self.json();
            let running = found.len() >= count || self.process.is_running();
            assert!(running, "it ended{}", wait::log_tails());
            if found.len() >= count { Ok(found) } else { Err(format!("{} so far", found.len())) }
        })
    }

    /// The lines of JSON that it has printed: whole objects only.
    pub fn json(&self) -> Vec<Value> {
        let lines = self.lines().into_iter().filter(|line| line.starts_with('{'));
        lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// Sends a signal by name.
    pub fn signal(&mut self, signal: &str) {
        self.process.signal(signal, &[]);
    }

    /// Waits until it ends; its exit code.
    pub fn wait(&mut self) -> i32 {
        self.process.wait()
    }
}
