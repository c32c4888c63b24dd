//! A Mosquitto of the test: its configuration, its process, its log.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::certificates::Authority;
use crate::wait;

/// A running broker. It ends with the test.
pub struct Mosquitto {
    child: Mutex<Child>,
    dir: tempfile::TempDir,
    port: u16,
    tls_port: u16,
    authority: Authority,
}

/// What is special about a broker.
#[derive(Default)]
pub struct Config {
    /// Lines of the plugin.
    pub options: Vec<String>,
    /// Users of the password file, and their passwords.
    pub users: Vec<(&'static str, &'static str)>,
    /// The broker's own ACL file.
    pub acl: Option<&'static str>,
    /// Whether each listener has settings of its own; the plugin is then the TLS listener's.
    pub is_per_listener: bool,
    /// Whether the TLS listener takes the user name from the certificate.
    pub uses_identity: bool,
    /// Whether the broker has process ids of its own, as in a container.
    pub is_contained: bool,
}

/// The plugin that this build made.
pub fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        // Cargo puts the library that it builds for a test beside the test.
        let own = std::env::current_exe().expect("the test has a path");
        let library = own.with_file_name("libsluice_mosquitto.so");
        assert!(library.exists(), "{} is missing", library.display());
        library
    })
}

/// The program: the one that `SLUICE_TEST_MOSQUITTO` names, or that of `PATH`.
fn program() -> PathBuf {
    if let Some(chosen) = std::env::var_os("SLUICE_TEST_MOSQUITTO") {
        return chosen.into();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = directories.map(|directory| Path::new(directory).join("mosquitto"));
    found.into_iter().find(|path| path.exists()).expect("mosquitto is installed")
}

/// Major, minor and patch of the broker.
pub fn version() -> (u32, u32, u32) {
    static VERSION: OnceLock<(u32, u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(program()).arg("-h").output().expect("mosquitto runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split_whitespace().nth(2).unwrap_or_default();
        let parts: Vec<u32> = number.split('.').filter_map(|part| part.parse().ok()).collect();
        (parts[0], parts[1], parts[2])
    })
}

impl Config {
    /// Adds an option of the plugin.
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Adds a user of the password file.
    pub fn user(mut self, name: &'static str, password: &'static str) -> Self {
        self.users.push((name, password));
        self
    }
}

impl Mosquitto {
    /// Starts a broker whose plugin connects to `socket`.
    pub fn start(socket: &Path, config: &Config) -> Self {
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let authority = Authority::new(dir.path());
            let (port, tls_port) = (free_port(), free_port());
            write_config(dir.path(), socket, config, &authority, [port, tls_port]);
            let child = Mutex::new(launch(dir.path(), config.is_contained));
            let broker = Self { child, dir, port, tls_port, authority };
            if broker.serves() {
                return broker;
            }
            assert!(broker.log().contains("Address already in use"), "{}", broker.log());
        }
        panic!("the broker found no free port");
    }

    /// Tries to start a broker, and returns the log of one that ends.
    pub fn fails_to_start(socket: &Path, config: &Config) -> String {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path());
        write_config(dir.path(), socket, config, &authority, [free_port(), free_port()]);
        let mut child = launch(dir.path(), config.is_contained);
        let status = wait::for_some("the broker ends", || child.try_wait().unwrap());
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(!status.success(), "{log}");
        log
    }

    /// The port without TLS.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS, which requires a certificate.
    pub const fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The authority of the devices.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Stops the broker and starts it again with the same files.
    pub fn restart(&self) {
        self.signal("-TERM");
        let mut child = self.child.lock().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        // The log of this start begins empty: what it says is about this start.
        std::fs::write(self.dir.path().join("log"), "").unwrap();
        *child = launch(self.dir.path(), false);
        drop(child);
        assert!(self.serves(), "{}", self.log());
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// The resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until the broker says that all its listeners are open. A port that answers could be another
    /// broker's.
    fn serves(&self) -> bool {
        wait::for_some("the broker listens", || {
            let log = self.log();
            let count = |word: &str| log.matches(word).count();
            let is_serving = count(" running\n") > 0 && count(" running\n") == count(" starting\n");
            match (is_serving, self.is_running()) {
                (true, true) => Some(true),
                (_, false) => Some(false),
                (false, true) => None,
            }
        })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the broker:\n{}", self.log());
        }
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn launch(dir: &Path, is_contained: bool) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(if is_contained { "unshare".into() } else { program() });
    if is_contained {
        // As in a container, and for a user that is not root, too.
        command.args(["--user", "--map-current-user", "--pid", "--fork", "--kill-child"]);
        command.arg(program());
    }
    command.arg("-c").arg(dir.join("mosquitto.conf")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("mosquitto starts")
}

fn write_config(
    dir: &Path,
    socket: &Path,
    config: &Config,
    authority: &Authority,
    ports: [u16; 2],
) {
    let mut lines: Vec<String> = vec![format!("per_listener_settings {}", config.is_per_listener)];
    lines.extend(["user root", "log_type all", "log_dest stderr"].map(str::to_owned));
    lines.push("persistence true".into());
    lines.push(format!("persistence_location {}/", dir.display()));
    lines.push("max_queued_messages 100000".into());
    let security = security_lines(dir, socket, config);
    if !config.is_per_listener {
        lines.extend(security.iter().cloned());
    }
    lines.push(format!("listener {} 127.0.0.1", ports[0]));
    if config.is_per_listener {
        lines.push("allow_anonymous true".into());
    }
    lines.push(format!("listener {} 127.0.0.1", ports[1]));
    if config.is_per_listener {
        lines.extend(security);
    }
    lines.push(format!("cafile {}", authority.path().display()));
    let (certificate, key) = authority.server_paths();
    lines.push(format!("certfile {}", certificate.display()));
    lines.push(format!("keyfile {}", key.display()));
    lines.push("require_certificate true".into());
    if config.uses_identity {
        lines.push("use_identity_as_username true".into());
    }
    std::fs::write(dir.join("mosquitto.conf"), lines.join("\n") + "\n").unwrap();
}

fn security_lines(dir: &Path, socket: &Path, config: &Config) -> Vec<String> {
    let mut lines = vec![format!("allow_anonymous {}", config.users.is_empty())];
    if !config.users.is_empty() {
        let passwords = dir.join("passwords");
        let text: Vec<String> =
            config.users.iter().map(|(name, password)| format!("{name}:{password}")).collect();
        std::fs::write(&passwords, text.join("\n") + "\n").unwrap();
        let done = Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().unwrap();
        assert!(done.success());
        lines.push(format!("password_file {}", passwords.display()));
    }
    if let Some(acl) = config.acl {
        let path = dir.join("acl");
        std::fs::write(&path, acl).unwrap();
        lines.push(format!("acl_file {}", path.display()));
    }
    lines.push(format!("plugin {}", plugin().display()));
    lines.push(format!("plugin_opt_socket {}", socket.display()));
    lines.extend(config.options.iter().map(|option| format!("plugin_opt_{option}")));
    lines
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
