//! The real `sluice` binary: its daemon and its commands, with an environment that holds what the
//! test sets and nothing of the machine it runs on.

use std::fs;
use std::io::{Error, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::database::Database;
use super::dir::Scratch;
use super::mosquitto::Mosquitto;
use super::port;
use super::process::{Launch, Process, read_log, search_path};
use super::wait;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice");

/// A daemon that does not answer within this is hung, and the test fails.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The settings of a daemon and of its commands.
#[derive(Clone, Debug)]
pub struct Settings {
    envs: Vec<(String, String)>,
    ops: u16,
    dir: Arc<Scratch>,
}

/// A running daemon; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Mutex<Option<Process>>,
    settings: Settings,
}

// === impl Settings ===

impl Settings {
    /// Between this broker and this database; else the defaults.
    pub fn new(broker: &Mosquitto, database: &Database<'_>) -> Self {
        Self::empty()
            .set("MQTT_HOST", "127.0.0.1")
            .set("MQTT_PORT", &broker.port().to_string())
            .set("DATABASE_URL", &database.url())
    }

    /// No broker and no database named, no file read, and listeners on free ports.
    pub fn empty() -> Self {
        let dir = Scratch::new("sluice");
        // Else it would read the file of the machine.
        let file = dir.write("sluice.toml", "");
        let ops = port::free();
        let settings = Self { envs: Vec::new(), ops, dir: Arc::new(dir) };
        settings
            .set("SLUICE_CONFIG", file.to_str().unwrap())
            .set("OPS_BIND", &format!("127.0.0.1:{ops}"))
            .set("HTTP_BIND", &format!("127.0.0.1:{}", port::free()))
            .set("HOOKS_BIND", &format!("127.0.0.1:{}", port::free()))
    }

    /// Sets a setting, as an environment variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.envs.retain(|(known, _)| known != name);
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The program runs with its clock moved by this, such as `+40d`; the clocks of the servers
    /// stay as they are.
    pub fn with_clock(self, moved: &str) -> Self {
        let library =
            ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
                .map(|dir| Path::new(dir).join("faketime/libfaketime.so.1"));
        let library =
            library.iter().find(|path| path.is_file()).expect("the package faketime is installed");
        let settings = self.set("LD_PRELOAD", library.to_str().unwrap()).set("FAKETIME", moved);
        settings.set("FAKETIME_DONT_FAKE_MONOTONIC", "1").set("DONT_FAKE_MONOTONIC", "1")
    }

    /// The port of a listener, such as `HTTP_BIND`.
    pub fn port(&self, name: &str) -> u16 {
        let set = self.envs.iter().find(|(known, _)| known == name);
        let (_, address) = set.unwrap_or_else(|| panic!("{name} is not set"));
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// A directory for files these settings name; it lives as long as they do.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    /// Starts the daemon; it may not be ready yet.
    pub fn start(&self) -> Daemon {
        let daemon = Daemon { process: Mutex::new(None), settings: self.clone() };
        daemon.start_again();
        daemon
    }

    /// A command of the program, such as `["tenant", "list"]`, with these settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", search_path())
            .envs(self.envs.iter().cloned());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end and returns what it printed; anything but success is a panic that
    /// shows its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        super::process::run_to_end(&mut self.command(arguments))
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts it again with the same settings, after it has ended.
    pub fn start_again(&self) {
        let process = Process::start(Launch {
            name: "sluice",
            program: Path::new(PROGRAM),
            args: vec!["run".into()],
            envs: self.settings.envs.clone(),
            log: &self.settings.dir.path().join("log"),
            dir: self.settings.dir.path(),
            account: None,
            parting: "KILL",
        });
        *self.process.lock().unwrap() = Some(process);
    }

    /// What it has written, over all its starts.
    pub fn log(&self) -> String {
        read_log(&self.settings.dir.path().join("log"))
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().as_ref().expect("sluice is running").pid()
    }

    /// Kills it and waits until it is gone.
    pub fn kill9(&self) {
        self.take().kill9(&[]);
    }

    /// SIGTERM; the exit code when it has ended.
    pub fn terminate(&self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends without a signal; the exit code.
    pub fn wait(&self) -> i32 {
        self.take().wait()
    }

    /// Sends a signal by name: STOP and CONT to freeze it.
    pub fn signal(&self, signal: &str) {
        self.process.lock().unwrap().as_mut().expect("sluice is running").signal(signal, &[]);
    }

    /// Waits until it says it is ready.
    pub fn wait_ready(&self) {
        self.wait_for_readiness(200);
    }

    /// Waits until it says it is not ready, and returns why.
    pub fn wait_unready(&self) -> String {
        self.wait_for_readiness(503)
    }

    /// Waits until it says it is not ready for a reason that holds these words, and returns all it
    /// says.
    pub fn wait_unready_for(&self, words: &str) -> String {
        wait::for_ok(&format!("/readyz says: {words}"), || match self.get("/readyz") {
            Ok((503, body)) if body.contains(words) => Ok(body),
            other => Err(format!("it answers {other:?}")),
        })
    }

    /// A path of the ops listener: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String), Error> {
        get(self.settings.ops, path)
    }

    /// The value of a metric, with exactly these labels, or without labels the sum over all of
    /// them. A series that does not exist yet is 0, as it is for a dashboard.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, body) = self.get("/metrics").unwrap();
        assert_eq!(status, 200, "{body}");
        sum_of(&body, name)
    }

    /// Waits until a metric is at least this.
    pub fn wait_metric(&self, name: &str, at_least: f64) {
        wait::for_ok(&format!("{name} is {at_least}"), || match self.metric(name) {
            value if value >= at_least => Ok(()),
            value => Err(format!("it is {value}")),
        });
    }

    /// The memory it holds.
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn wait_for_readiness(&self, expected: u16) -> String {
        wait::for_ok(&format!("/readyz answers {expected}"), || {
            assert!(self.is_running(), "sluice ended{}", wait::log_tails());
            match self.get("/readyz") {
                Ok((status, body)) if status == expected => Ok(body),
                other => Err(format!("it answers {other:?}")),
            }
        })
    }

    fn is_running(&self) -> bool {
        self.process.lock().unwrap().as_mut().is_some_and(Process::is_running)
    }

    fn take(&self) -> Process {
        self.process.lock().unwrap().take().expect("sluice is running")
    }
}

/// A GET to a port of the loopback: status and body.
pub fn get(port: u16, path: &str) -> Result<(u16, String), Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other(format!("no answer: {answer}")))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| Error::other(format!("no status: {head}")))?, body.to_owned()))
}

/// The sum of the series of this name in the text format of Prometheus.
fn sum_of(text: &str, name: &str) -> f64 {
    let series =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let ours = series.filter(|(key, _)| {
        *key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
    });
    ours.fold(0.0, |sum, (_, value)| sum + value.parse::<f64>().unwrap())
}

#[test]
fn a_metric_is_read_with_its_labels_or_summed_over_them() {
    let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3.5\nab 7\n";
    let read = |name| format!("{}", sum_of(text, name));
    assert_eq!([read("a"), read("a{x=\"1\"}"), read("ab"), read("b")], ["5.5", "2", "7", "0"]);
}
