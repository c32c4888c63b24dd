//! A Postgres of the tests' own: one shared by all tests of the process, and private ones for tests
//! that kill it.
//!
//! Its files and its socket lie in a scratch directory, its port is a free one on the loopback.
//! Each test gets a fresh database, copied from one that `sluice migrate` has prepared.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::database::{Database, try_query};
use super::dir::{Scratch, we_are_root};
use super::port;
use super::process::{
    Account, Launch, Process, chosen_postgres, find_program, read_log, run_to_end,
};
use super::wait;

/// The role the daemon logs in as: no superuser, but the owner of its database.
pub const ROLE: &str = "sluice";

/// Its password over TCP; a test may look for it in logs, where it must not be.
pub const PASSWORD: &str = "pass-of-the-tests";

/// The database that fresh ones are copied from.
const TEMPLATE: &str = "prepared";

/// The socket trusts every role; TCP needs the password.
const HBA: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// Every test may hold a pool or two.
const MAX_CONNECTIONS: &str = "200";

/// A server; it ends when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Mutex<Option<Process>>,
    port: u16,
    settings: Vec<(String, String)>,
    databases: AtomicU32,
    dir: Scratch,
}

// === impl Postgres ===

impl Postgres {
    /// The server all tests share. It does not sync its files, because no test kills it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::copy_of(prepared(), &[("fsync", "off")]))
    }

    /// A server of the test's own, to be killed, stopped and paused.
    pub fn private() -> Self {
        Self::private_with(&[])
    }

    /// The same, with settings of `postgresql.conf`.
    pub fn private_with(settings: &[(&str, &str)]) -> Self {
        Self::copy_of(prepared(), settings)
    }

    /// Whether the server has this library, as `shared_preload_libraries` finds it.
    pub fn has_library(file: &str) -> bool {
        // The programs of another release are behind a link, and its libraries are not beside the link.
        let real = programs().canonicalize().unwrap();
        real.parent().is_some_and(|dir| dir.join("lib").join(file).is_file())
    }

    /// A fresh database with the schema in place.
    pub fn database(&self) -> Database<'_> {
        self.create_database(Some(TEMPLATE))
    }

    /// A fresh database with nothing in it, for tests of the migration itself.
    pub fn empty_database(&self) -> Database<'_> {
        self.create_database(None)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged, over all its starts.
    pub fn log(&self) -> String {
        read_log(&self.log_path())
    }

    pub fn is_running(&self) -> bool {
        self.process.lock().unwrap().as_mut().is_some_and(Process::is_running)
    }

    /// Starts it again on the same port, with what it had committed, and waits until it answers.
    pub fn start(&self) {
        let before = self.log().len();
        wait::until("postgres starts", || {
            let is_started = self.try_start();
            // What was killed may still be dying, on a busy machine for seconds.
            let is_early = self.log()[before..].contains("pre-existing shared memory block");
            assert!(is_started || is_early, "postgres ended{}", wait::log_tails());
            is_started
        });
    }

    /// An orderly stop that does not wait for its clients.
    pub fn stop(&self) {
        let mut process = self.process.lock().unwrap().take().expect("postgres is running");
        process.signal("INT", &[]);
        process.wait();
    }

    /// Copies the data of a stopped server, slots and all, as a snapshot of its disk does.
    pub fn back_up(&self) {
        assert!(!self.is_running(), "the copy of a running server is no backup");
        let (data, backup) = (self.dir.path().join("data"), self.dir.path().join("backup"));
        run_to_end(Command::new("cp").arg("-a").arg(data).arg(backup));
    }

    /// Puts that copy in place of the data.
    pub fn restore(&self) {
        assert!(!self.is_running(), "the data of a running server stays");
        let data = self.dir.path().join("data");
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(self.dir.path().join("backup"), data).unwrap();
    }

    /// Starts as a standby that has all changes, and becomes the primary: a new timeline.
    pub fn start_promoted(&self) {
        self.dir.write("data/standby.signal", "");
        self.start();
        self.admin("SELECT pg_promote()");
    }

    /// Kills the server and each of its processes at once.
    pub fn kill9(&self) {
        let mut process = self.process.lock().unwrap().take().expect("postgres is running");
        let backends = process.children();
        process.kill9(&backends);
    }

    /// Freezes it with each of its processes: connections stay open without an answer.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// Ends the freeze.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, signal: &str) {
        let mut process = self.process.lock().unwrap();
        let process = process.as_mut().expect("postgres is running");
        // First the one that starts others, so that none is missed.
        process.signal(signal, &[]);
        let backends = process.children();
        process.signal(signal, &backends);
    }

    fn create_database(&self, template: Option<&str>) -> Database<'_> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let template = template.unwrap_or("template0");
        let strategy = self.copies_files();
        self.admin(&format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template} {strategy}"));
        Database::new(self, name)
    }

    /// How a database is made from a template: not by way of the log, which takes twice the time.
    /// Postgres 14 knows no other way, and no word for it.
    fn copies_files(&self) -> &'static str {
        static STRATEGY: OnceLock<&str> = OnceLock::new();
        STRATEGY.get_or_init(|| {
            let version = try_query(self, "postgres", "SHOW server_version_num").unwrap();
            let is_old = version[0][0].parse::<u32>().unwrap() < 150_000;
            if is_old { "" } else { "STRATEGY file_copy" }
        })
    }

    fn admin(&self, sql: &str) {
        try_query(self, "postgres", sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A running copy of a stopped server.
    fn copy_of(original: &Path, settings: &[(&str, &str)]) -> Self {
        let dir = Scratch::in_memory("postgres", account());
        run_to_end(Command::new("cp").arg("-a").arg(original).arg(dir.path().join("data")));
        Self::on(dir, settings)
    }

    /// Runs on the data in this directory.
    fn on(dir: Scratch, settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut server = Self {
            process: Mutex::new(None),
            port: 0,
            settings,
            databases: AtomicU32::new(0),
            dir,
        };
        for _ in 0..5 {
            server.port = port::free();
            if server.try_start() {
                return server;
            }
            // Another process took the port between the check and Postgres' bind.
            assert!(
                server.log().contains("Address already in use"),
                "postgres ended{}",
                wait::log_tails()
            );
        }
        panic!("postgres found no free port{}", wait::log_tails());
    }

    /// Whether it came up; if not, its log says why.
    fn try_start(&self) -> bool {
        let mut args: Vec<String> = ["-D", "data", "-p"].map(str::to_owned).into();
        args.extend([
            self.port.to_string(),
            "-k".into(),
            self.socket_dir().to_str().unwrap().into(),
        ]);
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("max_connections", MAX_CONNECTIONS),
            ("shared_buffers", "64MB"),
            // A quarter of the processor time of Postgres, for statements that run once.
            ("jit", "off"),
        ];
        for (name, value) in fixed {
            args.extend(["-c".into(), format!("{name}={value}")]);
        }
        for (name, value) in &self.settings {
            args.extend(["-c".into(), format!("{name}={value}")]);
        }
        let mut process = Process::start(Launch {
            name: "postgres",
            program: &programs().join("postgres"),
            args,
            envs: Vec::new(),
            log: &self.log_path(),
            dir: self.dir.path(),
            account: account(),
            parting: "QUIT",
        });
        let answers = wait::for_some("postgres answers", || {
            let answers = try_query(self, "postgres", "SELECT 1").is_ok();
            if process.is_running() { answers.then_some(true) } else { Some(false) }
        });
        *self.process.lock().unwrap() = answers.then_some(process);
        answers
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

/// The data of a stopped server that holds the role and the migrated template; made once, copied by
/// everybody.
fn prepared() -> &'static Path {
    static PREPARED: OnceLock<PathBuf> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let dir = Scratch::in_memory("prepared", account());
        let data = dir.path().join("data");
        initdb(&data);
        std::fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        let server = Postgres::on(dir, &[("fsync", "off")]);
        server.admin(&format!("CREATE ROLE {ROLE} LOGIN CREATEROLE PASSWORD '{PASSWORD}'"));
        server.admin(&format!("CREATE DATABASE {TEMPLATE} OWNER {ROLE}"));
        migrate(&server);
        // Postgres refuses to copy a template with a connection.
        server.admin(&format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false"));
        server.stop();
        // It lives as long as the process: the janitor of the directories removes it.
        std::mem::forget(server);
        data
    })
}

fn initdb(data: &Path) {
    let mut command = Command::new(programs().join("initdb"));
    command
        .args(["--no-sync", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
        .arg(data);
    command.current_dir("/").env_clear().env("PATH", super::process::search_path());
    if let Some(account) = account() {
        use std::os::unix::process::CommandExt;
        command.uid(account.uid).gid(account.gid);
    }
    run_to_end(&mut command);
}

fn migrate(server: &Postgres) {
    let template = Database::existing(server, TEMPLATE);
    let settings = server.dir.write("sluice.toml", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command
        .arg("migrate")
        .env_clear()
        .env("SLUICE_CONFIG", settings)
        .env("DATABASE_URL", template.url());
    run_to_end(&mut command);
}

/// Whom Postgres runs as: it refuses to be root.
fn account() -> Option<Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    *ACCOUNT.get_or_init(|| {
        if !we_are_root() {
            return None;
        }
        let table = std::fs::read_to_string("/etc/passwd").unwrap();
        let accounts: Vec<(&str, Account)> = table.lines().filter_map(account_in).collect();
        let named = |name: &str| accounts.iter().find(|(known, _)| *known == name);
        let ordinary = accounts.iter().find(|(_, account)| (1000..60_000).contains(&account.uid));
        named("postgres").or(ordinary).or(named("nobody")).map(|(_, account)| *account)
    })
}

/// The account in a line of the password table.
fn account_in(line: &str) -> Option<(&str, Account)> {
    let fields: Vec<&str> = line.split(':').collect();
    Some((
        fields.first()?,
        Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? },
    ))
}

/// Where the programs of Postgres stand: often not on the search path.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let told = Command::new("pg_config").arg("--bindir").output().ok();
        let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        let on_path = find_program("initdb").and_then(|path| path.parent().map(Path::to_owned));
        let found = chosen_postgres()
            .into_iter()
            .chain(told)
            .chain(packaged())
            .chain(on_path)
            .find(|dir| dir.join("initdb").is_file());
        found.expect("Postgres' server programs are not installed; scripts/test installs them")
    })
}

/// Where Debian puts them, the newest version first.
fn packaged() -> Vec<PathBuf> {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut numbers: Vec<u32> =
        versions.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
        .iter()
        .rev()
        .map(|number| PathBuf::from(format!("/usr/lib/postgresql/{number}/bin")))
        .collect()
}
