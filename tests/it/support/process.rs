//! Servers that cannot outlive the tests.
//!
//! Each runs under a watchdog: a small shell that holds a pipe from the test process. When the pipe
//! closes, because the fixture was dropped or the test process died in whatever way, the watchdog
//! ends the server: with a signal it heeds, and a few seconds later with one it cannot refuse. It
//! does so by process id, never by name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::wait;

/// `$0` is the signal, the arguments are the command. It prints the server's process id and exits
/// with its exit code. Descriptor 3 is the pipe: `read` returns when it closes, nothing ever writes
/// to it.
const WATCHDOG: &str = r#"exec 3<&0
"$@" </dev/null 3<&- >&2 &
server=$!
echo "$server"
exec >&2
{
    read -r _ <&3
    kill -s "$0" "$server"
    n=0
    while [ "$n" -lt 30 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    kill -s KILL "$server"
} &
reader=$!
wait "$server"
code=$?
kill -s KILL "$reader"
exit "$code""#;

/// An account to run a server as.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

/// A server under its watchdog.
#[derive(Debug)]
pub struct Process {
    name: String,
    watchdog: Child,
    server: u32,
    log: PathBuf,
}

/// What to run.
pub struct Launch<'a> {
    /// What messages call it.
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<String>,
    /// The whole environment, besides `PATH` and the locale.
    pub envs: Vec<(String, String)>,
    /// Where its output goes; appended to.
    pub log: &'a Path,
    /// Where it runs.
    pub dir: &'a Path,
    /// As whom, when not as ourselves.
    pub account: Option<Account>,
    /// The signal that ends it when the fixture goes.
    pub parting: &'a str,
}

// === impl Process ===

impl Process {
    pub fn start(launch: Launch<'_>) -> Self {
        wait::show_on_failure(launch.name, launch.log);
        let log = File::options().create(true).append(true).open(launch.log).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, launch.parting]).arg(launch.program).args(launch.args);
        command.env_clear().env("PATH", search_path()).env("LC_ALL", "C.UTF-8").envs(launch.envs);
        command.current_dir(launch.dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // A group of its own: Ctrl-C in the terminal reaches the tests, and the watchdog then does
        // its work.
        command.process_group(0);
        if let Some(account) = launch.account {
            command.uid(account.uid).gid(account.gid);
        }
        let mut watchdog = command.spawn().unwrap();
        let mut first_line = String::new();
        BufReader::new(watchdog.stdout.take().unwrap()).read_line(&mut first_line).unwrap();
        let server =
            first_line.trim().parse().expect("the watchdog prints the process id of the server");
        Self { name: launch.name.to_owned(), watchdog, server, log: launch.log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.server
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.watchdog.try_wait().unwrap().is_none()
    }

    /// Sends a signal, by name without `SIG`, to it and to these others.
    pub fn signal(&mut self, signal: &str, others: &[u32]) {
        if self.is_running() {
            send(signal, std::iter::once(&self.server).chain(others));
        }
    }

    /// Its child processes.
    pub fn children(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| parent_of(*id) == Some(self.server)).collect()
    }

    /// Waits until it has ended; the exit code, or 128 and the signal's number.
    pub fn wait(&mut self) -> i32 {
        let what = format!("{} ends", self.name);
        let ended = wait::for_some(&what, || self.watchdog.try_wait().unwrap());
        ended.code().expect("nobody kills the watchdog")
    }

    /// Kills it with these others at once and waits until it is gone.
    pub fn kill9(&mut self, others: &[u32]) {
        self.signal("KILL", others);
        self.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Ends within the watchdog's few seconds.
        let _ = self.watchdog.wait();
    }
}

/// The log as text.
pub fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Names the Mosquitto the tests run on, instead of this machine's; its clients are next to it.
/// `scripts/roots` makes some.
pub const CHOSEN_MOSQUITTO: &str = "SLUICE_TEST_MOSQUITTO";

/// Names the directory of the Postgres programs the tests run on, instead of this machine's.
pub const CHOSEN_POSTGRES: &str = "SLUICE_TEST_POSTGRES_BIN";

/// Where programs are looked for: first where the environment says, and servers stand in the
/// directories of the administrator.
pub fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    let mut dirs: Vec<String> =
        chosen_dirs().iter().map(|dir| dir.to_str().unwrap().to_owned()).collect();
    dirs.extend([own, "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin".to_owned()]);
    dirs.join(":")
}

/// The directory of Postgres' programs that the environment names.
pub fn chosen_postgres() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(CHOSEN_POSTGRES)?);
    assert!(
        dir.join("postgres").is_file(),
        "{CHOSEN_POSTGRES} names {}, and no postgres is there",
        dir.display()
    );
    Some(dir)
}

/// The directories that the environment puts before all others.
fn chosen_dirs() -> Vec<PathBuf> {
    let broker = std::env::var_os(CHOSEN_MOSQUITTO).map(PathBuf::from);
    let broker = broker.map(|program| {
        let right = program.is_absolute() && program.ends_with("mosquitto") && program.is_file();
        assert!(
            right,
            "{CHOSEN_MOSQUITTO} is {}: not the full path of a program `mosquitto`",
            program.display()
        );
        program.parent().unwrap().to_owned()
    });
    broker.into_iter().chain(chosen_postgres()).collect()
}

/// The path of a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(OsStr::new(&search_path()))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Runs a command to its end and returns what it printed; anything but success is a panic with its
/// words.
pub fn run_to_end(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

fn send<'a>(signal: &str, processes: impl Iterator<Item = &'a u32>) {
    let ids = processes.map(u32::to_string);
    // The shell's own kill: the program of that name is not on every machine. One that is gone
    // already is no failure.
    let sent =
        Command::new("/bin/sh").args(["-c", r#"kill -s "$0" "$@""#, signal]).args(ids).output();
    sent.unwrap();
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; state and parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
