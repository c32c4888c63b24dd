//! A Mosquitto of the test's own, with its own configuration, port and data.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::dir::{Scratch, we_are_root};
use super::port;
use super::process::{Launch, Process, find_program, read_log, run_to_end};
use super::wait;

/// Default configuration of test brokers: the values docs/how-to/own-broker.md recommends.
const DEFAULTS: [&str; 10] = [
    "max_inflight_messages 16000",
    "max_queued_messages 1000000",
    "message_size_limit 16777216",
    // Since 2.1 the default is 2,000,000 bytes.
    "max_packet_size 20000000",
    "autosave_interval 30",
    "autosave_on_changes false",
    "sys_interval 1",
    "log_type all",
    "log_dest stderr",
    "connection_messages true",
];

/// The packet with which [`Mosquitto::serves`] is answered by a close.
const PINGREQ: [u8; 2] = [0xc0, 0];

/// After this the fixture tries again.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);

/// How a broker differs from the usual.
#[derive(Clone, Debug)]
pub struct MosquittoOptions {
    /// Whether it keeps sessions and messages over a restart.
    pub persistence: bool,
    /// The access rules, as in an ACL file.
    pub acl: Option<String>,
    /// User names and passwords; empty admits every client.
    pub users: Vec<(String, String)>,
    /// A second listener, with TLS.
    pub tls: Option<TlsListener>,
    /// More lines of configuration; they replace default lines of the same name.
    pub extra: Vec<String>,
}

/// The files of a TLS listener.
#[derive(Clone, Debug)]
pub struct TlsListener {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub crl: Option<PathBuf>,
    /// Whether clients need a certificate, whose common name is then their user name.
    pub mutual: bool,
    /// Whether the common name becomes the user name: the broker then asks no plugin at a login.
    pub names_by_certificate: bool,
}

/// The version of the broker the tests run on, as major and minor.
pub fn version() -> (u32, u32) {
    let (major, minor, _) = release();
    (major, minor)
}

/// Whether the broker ends the connection of a client whose Response Topic no client could publish
/// to, and its own clients refuse to send one: 2.0.21 does, 2.0.11 does not.
pub fn checks_response_topics() -> bool {
    release() > (2, 0, 11)
}

fn release() -> (u32, u32, u32) {
    static VERSION: OnceLock<(u32, u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let program = find_program("mosquitto")
            .expect("mosquitto is not installed; scripts/test installs it");
        // Its help; the exit code is not that of success.
        let output = Command::new(program).arg("-h").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().nth(2).unwrap_or_default();
        let parts: Vec<u32> = number.split('.').filter_map(|part| part.parse().ok()).collect();
        assert!(parts.len() == 3 && text.starts_with("mosquitto version "), "{output:?}");
        (parts[0], parts[1], parts[2])
    })
}

/// The own topic of Sluice's probe, where rows take the place of patterns.
pub const PROBE_ROWS: &str =
    "user $sluice/device/probe\ntopic write tenant/$sluice/device/probe/telemetry\n";

/// The rows that let devices publish and read what the patterns of these access rules say, by the
/// devices' user names; none where the patterns do that. Since 2.1 `%u` matches one level only, and
/// Sluice writes such rows into `ACL_OUTPUT_PATH`.
pub fn rows_for(rules: &str, names: &[String]) -> String {
    if version() < (2, 1) {
        return String::new();
    }
    let patterns = rules.lines().filter_map(|line| line.strip_prefix("pattern "));
    let patterns: Vec<&str> = patterns.filter(|line| line.contains("/%u/")).collect();
    let mut rows = String::new();
    for name in names {
        rows.extend(["user ", name, "\n"]);
        for pattern in &patterns {
            rows.extend(["topic ", &pattern.replace("%u", name), "\n"]);
        }
    }
    rows + PROBE_ROWS
}

/// A broker; it ends when this is dropped.
#[derive(Debug)]
pub struct Mosquitto {
    process: Mutex<Option<Process>>,
    options: MosquittoOptions,
    port: u16,
    tls_port: u16,
    dir: Scratch,
}

// === impl MosquittoOptions ===

impl Default for MosquittoOptions {
    fn default() -> Self {
        Self { persistence: true, acl: None, users: Vec::new(), tls: None, extra: Vec::new() }
    }
}

impl MosquittoOptions {
    /// Adds a line of configuration.
    pub fn line(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }

    /// Adds a user, and refuses clients without a password.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }
}

// === impl Mosquitto ===

impl Mosquitto {
    /// Starts one and waits until it serves connections.
    pub fn start(options: MosquittoOptions) -> Self {
        let dir = Scratch::new("mosquitto");
        let mut broker = Self { process: Mutex::new(None), options, port: 0, tls_port: 0, dir };
        for _ in 0..5 {
            broker.port = port::free();
            broker.tls_port = port::free();
            broker.write_files();
            if broker.try_start() {
                return broker;
            }
            // Another process took the port between the check and Mosquitto's bind.
            assert!(
                broker.log().contains("Address already in use"),
                "mosquitto ended{}",
                wait::log_tails()
            );
        }
        panic!("mosquitto found no free port{}", wait::log_tails());
    }

    /// The port without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS, when the options ask for one.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Its configuration, ACL and data stand here.
    pub fn dir(&self) -> &Scratch {
        &self.dir
    }

    /// What it has logged, over all its starts.
    pub fn log(&self) -> String {
        read_log(&self.dir.path().join("log"))
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().as_ref().expect("mosquitto is running").pid()
    }

    /// Starts it again on the same port, with what it kept.
    pub fn start_again(&self) {
        assert!(self.try_start(), "mosquitto ended{}", wait::log_tails());
    }

    /// SIGTERM: it saves what it keeps.
    pub fn stop(&self) {
        self.end("TERM");
    }

    /// Kills it: it loses what it did not save.
    pub fn kill9(&self) {
        self.end("KILL");
    }

    /// Sends a signal by name: STOP and CONT to freeze it, HUP to read its files again.
    pub fn signal(&self, signal: &str) {
        self.process.lock().unwrap().as_mut().expect("mosquitto is running").signal(signal, &[]);
    }

    fn end(&self, signal: &str) {
        let mut process = self.process.lock().unwrap().take().expect("mosquitto is running");
        process.signal(signal, &[]);
        process.wait();
    }

    /// Whether it came up; if not, its log says why.
    fn try_start(&self) -> bool {
        let config = self.dir.path().join("mosquitto.conf");
        let mut process = Process::start(Launch {
            name: "mosquitto",
            program: &find_program("mosquitto")
                .expect("mosquitto is not installed; scripts/test installs it"),
            args: vec!["-c".into(), config.to_str().unwrap().into()],
            envs: Vec::new(),
            log: &self.dir.path().join("log"),
            dir: self.dir.path(),
            account: None,
            parting: "KILL",
        });
        let serves = wait::for_some("mosquitto serves connections", || {
            let serves = self.serves();
            if process.is_running() { serves.then_some(true) } else { Some(false) }
        });
        *self.process.lock().unwrap() = serves.then_some(process);
        serves
    }

    /// Whether its main loop runs. Mosquitto accepts connections before that, and forgets a SIGTERM
    /// that arrives in between. It closes a connection whose first packet is no CONNECT.
    fn serves(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(CLOSED_WITHIN)).unwrap();
        let _ = stream.write_all(&PINGREQ);
        match stream.read_exact(&mut [0]) {
            Ok(()) => true,
            Err(error) => {
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
            }
        }
    }

    fn write_files(&self) {
        let mut lines: Vec<String> = Vec::new();
        let name_of = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let said: Vec<String> = self.options.extra.iter().map(|line| name_of(line)).collect();
        lines.extend(
            DEFAULTS
                .iter()
                .filter(|line| !said.contains(&name_of(line)))
                .map(|line| (*line).to_owned()),
        );
        lines.push(format!("persistence {}", self.options.persistence));
        lines.push(format!("persistence_location {}/", self.dir.path().display()));
        if we_are_root() {
            // Else it becomes user mosquitto, who may not write here.
            lines.push("user root".into());
        }
        lines.push(format!("allow_anonymous {}", self.options.users.is_empty()));
        if !self.options.users.is_empty() {
            lines.push(format!("password_file {}", self.write_passwords().display()));
        }
        if let Some(acl) = &self.options.acl {
            lines.push(format!("acl_file {}", self.dir.write("acl", acl).display()));
        }
        lines.extend(self.options.extra.iter().cloned());
        lines.push(format!("listener {} 127.0.0.1", self.port));
        if let Some(tls) = &self.options.tls {
            lines.extend(tls.lines(self.tls_port));
        }
        self.dir.write("mosquitto.conf", lines.join("\n") + "\n");
    }

    fn write_passwords(&self) -> PathBuf {
        let lines: Vec<String> = self
            .options
            .users
            .iter()
            .map(|(name, password)| format!("{name}:{password}"))
            .collect();
        let path = self.dir.write("passwords", lines.join("\n") + "\n");
        let program = find_program("mosquitto_passwd").expect("mosquitto_passwd is not installed");
        // Replaces the plain passwords by their hashes.
        run_to_end(Command::new(program).arg("-U").arg(&path));
        path
    }
}

// === impl TlsListener ===

impl TlsListener {
    fn lines(&self, port: u16) -> Vec<String> {
        let mut lines = vec![
            format!("listener {port} 127.0.0.1"),
            format!("cafile {}", self.ca.display()),
            format!("certfile {}", self.certificate.display()),
            format!("keyfile {}", self.key.display()),
            format!("require_certificate {}", self.mutual),
        ];
        if self.names_by_certificate {
            lines.push("use_identity_as_username true".into());
        }
        lines.extend(self.crl.iter().map(|crl| format!("crlfile {}", crl.display())));
        lines
    }
}
