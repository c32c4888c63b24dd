//! A machine for the pages: directories of its own for `/etc/sluice`, `/etc/mosquitto` and the like,
//! free ports for those the pages name, and a Postgres and a Mosquitto that are not set up yet.
//!
//! A page runs as written, with nothing but paths, ports and accounts changed: there is no account
//! `sluice` here, so `chown` and `adduser` do nothing. `systemctl` lines are carried out by the tests,
//! which own the servers. Each block is a shell of its own.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::compose::stack::repository;
use crate::links::cloud::CloudBroker;
use crate::support::daemon::get;
use crate::support::database::try_query;
use crate::support::dir::{Scratch, we_are_root};
use crate::support::port;
use crate::support::postgres::Postgres;
use crate::support::process::{Launch, Process, find_program, search_path};
use crate::support::wait;

/// Ports that pages name.
const PORTS: [&str; 11] =
    ["1883", "1884", "5432", "8009", "8080", "8081", "8443", "8883", "9001", "9002", "9464"];

/// Paths that pages name; each stands below the machine's own directory.
const PATHS: [&str; 8] = [
    "/etc/mosquitto",
    "/etc/prometheus",
    "/etc/sluice",
    "/etc/systemd/system",
    "/run/mosquitto",
    "/usr/local/bin",
    "/var/backups",
    "/var/lib/sluice",
];

/// Directories that the packages of a machine have made before a page begins.
const DIRS: [&str; 7] = [
    "/etc/mosquitto/ca_certificates",
    "/etc/mosquitto/certs",
    "/etc/mosquitto/conf.d",
    "/etc/systemd/system",
    "/run/mosquitto",
    "/usr/local/bin",
    "/var/backups",
];

/// A block that takes longer hangs.
const BLOCK_SECONDS: &str = "120";

/// What Debian's own mosquitto.conf sets.
const DEBIAN_CONF: &str = "persistence true\nlog_dest stderr\ninclude_dir /etc/mosquitto/conf.d\n";

/// Commands that need accounts or services of a real machine. `$PORT_1883` is the broker's port.
const STAND_INS: [(&str, &str); 11] = [
    ("adduser", ":"),
    ("chown", ":"),
    ("chgrp", ":"),
    // What is installed is the program that the tests have built.
    ("cargo", r#"[ "$*" = "build --release --locked" ]"#),
    (
        "install",
        r#"args=(); while [ $# -gt 0 ]; do case $1 in -o | -g) shift 2 ;; *) args+=("$1"); shift ;; esac; done
exec /usr/bin/install "${args[@]}""#,
    ),
    (
        "runuser",
        r#"[ "$1 $3" = "-u --" ] || exit 64
if [ "$2" = postgres ]; then export PGHOST="$SOCKET" PGUSER=postgres; fi
shift 3; exec "$@""#,
    ),
    ("mosquitto_pub", r#"exec "$REAL_PUB" $(default_port "$@") "$@""#),
    ("mosquitto_rr", r#"exec "$REAL_RR" $(default_port "$@") "$@""#),
    ("mosquitto_sub", r#"exec "$REAL_SUB" $(default_port "$@") "$@""#),
    (
        "default_port",
        r#"case " $* " in *" -p "* | *" --help "*) ;; *) echo "-p $PORT_1883" ;; esac"#,
    ),
    ("systemctl", "echo 'a systemctl line stands at the beginning of its line' >&2; exit 64"),
];

/// The machine; its servers end when this is dropped.
pub struct Machine {
    services: HashMap<String, Process>,
    ports: HashMap<&'static str, u16>,
    postgres: Postgres,
    cloud: Option<StandIn>,
    dir: Scratch,
}

/// What stands for another broker that a page names.
struct StandIn {
    host: &'static str,
    broker: CloudBroker,
}

// === impl Machine ===

impl Machine {
    pub fn new() -> Self {
        // Cells replicate; the other pages do not notice.
        let postgres =
            Postgres::private_with(&[("wal_level", "logical"), ("max_slot_wal_keep_size", "1GB")]);
        // As it is after the installation: without Sluice's role and database.
        for sql in ["DROP DATABASE prepared", "DROP ROLE sluice_reader", "DROP ROLE sluice"] {
            try_query(&postgres, "postgres", sql).unwrap();
        }
        let mut ports: HashMap<&str, u16> = PORTS.map(|name| (name, port::free())).into();
        ports.insert("5432", postgres.port());
        let machine = Self {
            services: HashMap::new(),
            ports,
            postgres,
            cloud: None,
            dir: Scratch::new("machine"),
        };
        machine.make_dirs();
        machine.make_programs();
        machine
    }

    /// From now on this host name is a broker here with the login of Event Grid. It trusts the
    /// certificate at this path, which the page makes, and tokens of this issuer.
    pub fn stand_in(&mut self, host: &'static str, certificate: &str, issuer: &str) {
        let broker = CloudBroker::trusting(&self.path(certificate), issuer, &[]);
        self.ports.insert("8883", broker.tls);
        self.cloud = Some(StandIn { host, broker });
    }

    fn make_dirs(&self) {
        for dir in DIRS {
            fs::create_dir_all(self.place(dir)).unwrap();
        }
        let user = if we_are_root() { "user root\n" } else { "" };
        let conf = self.local(&format!("{DEBIAN_CONF}{user}"))
            + &format!("persistence_location {}/\n", self.place("/run/mosquitto").display());
        fs::write(self.place("/etc/mosquitto").join("mosquitto.conf"), conf).unwrap();
        // The repository, as a page names its files.
        let home = self.home();
        fs::create_dir_all(home.join("target/release")).unwrap();
        symlink(env!("CARGO_BIN_EXE_sluice"), home.join("target/release/sluice")).unwrap();
        symlink(repository("scripts"), home.join("scripts")).unwrap();
        symlink(repository("tests"), home.join("tests")).unwrap();
        run_quietly(
            Command::new("cp").arg("-r").arg(repository("compose")).arg(home.join("compose")),
        );
        // It names ports and the account of a real machine.
        let guests = home.join("compose/mosquitto/guests.conf");
        let conf = self.local(&fs::read_to_string(&guests).unwrap());
        let conf = if we_are_root() { conf.replace("user mosquitto", "user root") } else { conf };
        fs::write(guests, conf).unwrap();
    }

    fn make_programs(&self) {
        let bin = self.dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, text) in STAND_INS {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Runs one block; what it printed, or how it failed.
    pub fn run(&mut self, text: &str, exit_code: i32) -> Result<String, String> {
        let text = self.local(text);
        let mut printed = String::new();
        let mut shell = String::new();
        for line in text.lines() {
            if let Some(words) = service_line(line) {
                printed += &self.shell(&std::mem::take(&mut shell), 0)?;
                self.control(&words);
            } else {
                shell.extend([line, "\n"]);
            }
        }
        Ok(printed + &self.shell(&shell, exit_code)?)
    }

    fn shell(&self, text: &str, exit_code: i32) -> Result<String, String> {
        let mut command = Command::new("timeout");
        command.args([BLOCK_SECONDS, "bash", "-euo", "pipefail", "-c", text]).stdin(Stdio::null());
        command.current_dir(self.home()).env_clear().envs(self.environment());
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(exit_code) {
            return Ok(printed);
        }
        Err(format!("{}, not {exit_code}:\n{text}\n{printed}{}", output.status, wait::log_tails()))
    }

    fn environment(&self) -> Vec<(String, String)> {
        let port = |name: &str| self.ports[name];
        let real = |name: &str| find_program(name).unwrap().to_str().unwrap().to_owned();
        let bin = |dir: PathBuf| dir.to_str().unwrap().to_owned();
        let path = [
            bin(self.place("/usr/local/bin")),
            bin(self.dir.path().join("bin")),
            search_path(),
            bin(self.home().join("target/release")),
        ];
        let mut pairs = vec![
            ("PATH".to_owned(), path.join(":")),
            ("HOME".to_owned(), bin(self.home())),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
            ("SOCKET".to_owned(), bin(self.postgres.socket_dir().to_owned())),
            ("PGPORT".to_owned(), port("5432").to_string()),
            ("PORT_1883".to_owned(), port("1883").to_string()),
            ("REAL_PUB".to_owned(), real("mosquitto_pub")),
            ("REAL_RR".to_owned(), real("mosquitto_rr")),
            ("REAL_SUB".to_owned(), real("mosquitto_sub")),
            ("MQTT_PORT".to_owned(), port("1883").to_string()),
        ];
        if let Some(cloud) = &self.cloud {
            pairs.push(("SSL_CERT_FILE".to_owned(), bin(cloud.broker.ca())));
        }
        // Until a page makes the directory, the program uses its defaults.
        let settings = self.place("/etc/sluice");
        if settings.exists() {
            pairs.push(("SLUICE_CONFIG".to_owned(), bin(settings.join("sluice.toml"))));
        }
        for (name, number) in [("OPS_BIND", "9464"), ("HTTP_BIND", "8080"), ("HOOKS_BIND", "8009")]
        {
            pairs.push((name.to_owned(), format!("127.0.0.1:{}", port(number))));
        }
        pairs
    }

    /// Carries out a line such as `systemctl restart mosquitto`.
    fn control(&mut self, words: &[&str]) {
        match *words {
            ["systemctl", "daemon-reload"] => {}
            ["systemctl", "enable", "--now", name] | ["systemctl", "start", name] => {
                self.start(name);
            }
            ["systemctl", "restart", name] => {
                self.stop(name);
                self.start(name);
            }
            ["systemctl", "stop", name] => self.stop(name),
            ["mosquitto", "-d", "-c", file] => self.launch("guests", "mosquitto", &["-c", file]),
            _ => panic!("not understood: {words:?}"),
        }
    }

    fn start(&mut self, name: &str) {
        if name == "mosquitto" {
            let conf = self.place("/etc/mosquitto").join("mosquitto.conf");
            self.launch("mosquitto", "mosquitto", &["-c", conf.to_str().unwrap()]);
            let pid = self.services["mosquitto"].pid().to_string();
            fs::write(self.place("/run/mosquitto").join("mosquitto.pid"), pid).unwrap();
            return;
        }
        // As its unit says.
        let unit = self.place("/etc/systemd/system").join(format!("{name}.service"));
        let unit = fs::read_to_string(&unit).unwrap_or_else(|error| panic!("{name}: {error}"));
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let (program, arguments) = start.split_once(' ').unwrap();
        let arguments: Vec<&str> = arguments.split(' ').collect();
        self.launch(name, program, &arguments);
        let ops = self.ports["9464"];
        wait::for_ok("sluice is ready", || match get(ops, "/readyz") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    fn launch(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let program = find_program(program).unwrap_or_else(|| program.into());
        let process = Process::start(Launch {
            name,
            program: &program,
            args: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            envs: self.environment().into_iter().filter(|(name, _)| name != "PATH").collect(),
            log: &self.dir.path().join(format!("{name}.log")),
            dir: self.dir.path(),
            account: None,
            parting: "KILL",
        });
        self.services.insert(name.to_owned(), process);
        if program.ends_with("mosquitto") {
            let port = if name == "guests" { self.ports["1884"] } else { self.ports["1883"] };
            wait::until("the broker listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    fn stop(&mut self, name: &str) {
        if let Some(mut process) = self.services.remove(name) {
            process.signal("TERM", &[]);
            process.wait();
        }
    }

    /// The same text with this machine's paths and ports.
    fn local(&self, text: &str) -> String {
        let mut local = text.to_owned();
        for path in PATHS {
            local = replaced(&local, path, self.place(path).to_str().unwrap());
        }
        for (name, port) in &self.ports {
            local = replaced(&local, name, &port.to_string());
        }
        if let Some(cloud) = &self.cloud {
            local = replaced(&local, cloud.host, "127.0.0.1");
        }
        local
    }

    fn place(&self, dir: &str) -> PathBuf {
        self.dir.path().join(dir.trim_start_matches('/'))
    }

    /// A file below one of the machine's directories.
    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(self.local(file))
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The first value of a query, as superuser.
    pub fn value(&self, database: &str, sql: &str) -> String {
        try_query(&self.postgres, database, sql).unwrap().concat().concat()
    }
}

/// The words of a line that the machine carries out itself.
fn service_line(line: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_ours = line.starts_with("systemctl ") || line.starts_with("mosquitto -d ");
    is_ours.then_some(words)
}

/// Replaces a path or a number where it is not a part of a longer one.
fn replaced(text: &str, from: &str, to: &str) -> String {
    let joins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let last = before.chars().next_back().or_else(|| result.chars().next_back());
        let is_part = last.is_some_and(joins)
            || after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        result += before;
        result += if is_part { from } else { to };
        rest = after;
    }
    result + rest
}

fn run_quietly(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn paths_and_ports_become_the_machines_and_longer_ones_stay() {
    assert_eq!(replaced("-p 1883 x1883 18830 :1883/", "1883", "7"), "-p 7 x1883 18830 :7/");
    let text = "s,/a/,/etc/x/, /tmp/etc/x /etc/x/y /etc/xy";
    assert_eq!(
        replaced(text, "/etc/x", "/m/etc/x"),
        "s,/a/,/m/etc/x/, /tmp/etc/x /m/etc/x/y /etc/xy"
    );
    assert!(service_line("systemctl restart mosquitto").is_some());
    assert!(service_line("# systemctl").is_none());
}
