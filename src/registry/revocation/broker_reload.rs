//! Tells the broker that there is a new CRL: by a signal, by a command, or not at all where a watcher beside it does.
//!
//! It signals nothing but a Mosquitto, and waits for no effect: that is for the proof. A command gets none of our
//! environment but `PATH`, for ours may hold passwords.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::sections::certificates::CertificatesConfig;
use crate::disk;

/// A command that takes longer has hung.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// The longest PID file, in bytes.
const MAX_PID_BYTES: u64 = 64;

/// The name of the program that may be signalled, perhaps with a version behind it; its clients are `mosquitto_...`.
const BROKER_NAME: &str = "mosquitto";

/// What the kernel appends to the path of a program whose file was replaced, as an upgrade does.
const REPLACED: &str = " (deleted)";

/// Tells the broker that its files have changed.
#[derive(Debug)]
pub struct Reload {
    way: Way,
    recheck: Recheck,
}

/// Wakes those who look what the broker does, after each reload. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recheck(Arc<Notify>);

/// How the broker hears of a new list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// `BROKER_RELOAD_COMMAND`, split at spaces: no shell is in between.
    Command(Vec<String>),
    /// `BROKER_PID_FILE`.
    PidFile(PathBuf),
    /// A watcher beside the broker sees the file change.
    Watcher,
}

/// Why the broker was not told.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The PID file.
    #[error("BROKER_PID_FILE {path} cannot be used ({why}): check the broker's pid_file, and that the broker runs")]
    PidFile {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The file system does not answer.
    #[error("BROKER_PID_FILE cannot be read: {0}")]
    Disk(String),
    /// Another program has that number now.
    #[error(
        "BROKER_PID_FILE {path} names process {pid}, which is {name:?} and not the broker {BROKER_NAME}: it was not \
         signalled; name the broker's own pid_file, or use BROKER_RELOAD_COMMAND where the broker has another name"
    )]
    Stranger {
        /// Which file.
        path: String,
        /// The number in it.
        pid: i32,
        /// The process's name.
        name: String,
    },
    /// The system refused.
    #[error("process {pid} cannot be signalled ({why}): run sluice as the broker's user, or use BROKER_RELOAD_COMMAND")]
    Signal {
        /// Which process.
        pid: i32,
        /// Why not.
        why: io::Error,
    },
    /// The command.
    #[error("BROKER_RELOAD_COMMAND {0}: run it by hand, as the user sluice runs as")]
    Command(String),
}

// === impl Reload ===

impl Reload {
    /// As the settings say; a command goes before a signal.
    pub fn of(settings: &CertificatesConfig) -> Self {
        let way = match (&settings.broker_reload_command, &settings.broker_pid_file) {
            (Some(command), _) => Way::Command(command.split_whitespace().map(str::to_owned).collect()),
            (None, Some(path)) => Way::PidFile(path.clone()),
            (None, None) => Way::Watcher,
        };
        Self { way, recheck: Recheck::default() }
    }

    /// Wakes these too, from now on.
    #[must_use]
    pub fn waking(self, recheck: Recheck) -> Self {
        Self { recheck, ..self }
    }

    /// Tells it; says whether anybody was told.
    pub async fn tell(&self) -> Result<bool, ReloadError> {
        let was_told = match &self.way {
            Way::Watcher => false,
            Way::PidFile(path) => {
                let at = path.clone();
                let done = disk::apart(path, move || signal(&at)).await;
                done.map_err(|error| ReloadError::Disk(error.to_string()))?.map(|()| true)?
            }
            Way::Command(words) => run(words).await.map(|()| true)?,
        };
        self.recheck.ask();
        Ok(was_told)
    }
}

// === impl Recheck ===

impl Recheck {
    /// Asks for a look; several before it are one.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Waits until a look is asked for.
    pub async fn asked(&self) {
        self.0.notified().await;
    }
}

// --- private helpers ---

fn signal(path: &Path) -> Result<(), ReloadError> {
    let shown = || path.display().to_string();
    let unusable = |why: String| ReloadError::PidFile { path: shown(), why };
    let text = disk::read_text(path, MAX_PID_BYTES).map_err(|error| unusable(error.to_string()))?;
    // A negative number would mean a group of processes.
    let pid = text.trim().parse().ok().filter(|&number: &i32| number > 0).and_then(Pid::from_raw);
    let pid = pid.filter(|pid| !pid.is_init()).ok_or_else(|| unusable("it holds no process id".to_owned()))?;
    let number = pid.as_raw_nonzero().get();
    let ended = || unusable(format!("there is no process {number}"));
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).map_err(|_| ended())?.trim().to_owned();
    let program = match std::fs::read_link(format!("/proc/{number}/exe")) {
        Ok(program) => Some(program_name(&program)),
        // One that has ended, and that nobody has waited for.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ended()),
        // The process of another user: its name is all that can be seen.
        Err(_) => None,
    };
    if let Some(name) = [Some(name), program].into_iter().flatten().find(|name| !is_broker(name)) {
        return Err(ReloadError::Stranger { path: shown(), pid: number, name });
    }
    kill_process(pid, Signal::HUP).map_err(|why| ReloadError::Signal { pid: number, why: why.into() })
}

/// `mosquitto`, or with a version or a suffix behind it; neither a client of it, nor a script that starts it.
fn is_broker(name: &str) -> bool {
    let rest = name.strip_prefix(BROKER_NAME);
    rest.is_some_and(|rest| rest.bytes().next().is_none_or(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-')))
}

fn program_name(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(REPLACED).unwrap_or(&name).to_owned()
}

async fn run(words: &[String]) -> Result<(), ReloadError> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(ReloadError::Command("is empty".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    match timeout(COMMAND_PATIENCE, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ReloadError::Command(format!("failed ({status})"))),
        Ok(Err(error)) => Err(ReloadError::Command(format!("cannot be run ({program}: {error})"))),
        Err(_) => Err(ReloadError::Command(format!("did not end within {} s", COMMAND_PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_mosquitto_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let reload = Reload { way: Way::PidFile(path.clone()), recheck: Recheck::default() };
        assert!(reload.tell().await.unwrap_err().to_string().contains("cannot be used (No such file"));
        for (content, part) in [
            ("", "no process id"),
            ("-1", "no process id"),
            ("1", "no process id"),
            ("2147483647", "there is no process"),
            (&format!("{}\n", std::process::id()), "not the broker mosquitto"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = reload.tell().await.unwrap_err().to_string();
            assert!(error.contains(part), "{content}: {error}");
        }
    }

    #[test]
    fn the_broker_is_known_by_its_name_whatever_its_version_and_its_clients_are_not_the_broker() {
        for name in ["mosquitto", "mosquitto-2.1.2", "mosquitto2", "mosquitto.real"] {
            assert!(is_broker(name), "{name}");
        }
        for name in ["mosquitto_sub", "mosquitto_pub", "mosquitto_rr", "mosquitto_ctrl", "mosquittod", "sh", ""] {
            assert!(!is_broker(name), "{name}");
        }
        assert_eq!(program_name(Path::new("/usr/sbin/mosquitto (deleted)")), "mosquitto");
    }

    #[tokio::test]
    async fn a_client_of_the_broker_and_a_program_that_only_has_its_name_are_not_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let reload = Reload { way: Way::PidFile(path.clone()), recheck: Recheck::default() };
        for called in ["mosquitto_sub", "mosquitto"] {
            let program = dir.path().join(called);
            std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
            let mut process = std::process::Command::new(&program).arg("60").spawn().unwrap();
            std::fs::write(&path, process.id().to_string()).unwrap();
            let error = reload.tell().await.unwrap_err().to_string();
            assert!(error.contains("not the broker mosquitto"), "{called}: {error}");
            assert!(process.try_wait().unwrap().is_none(), "{called} lives");
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn a_command_is_no_shell_and_its_failure_is_told() {
        let recheck = Recheck::default();
        let of = |way| Reload { way, recheck: Recheck::default() }.waking(recheck.clone());
        let tell = async |line: &str| of(Way::Command(line.split(' ').map(str::to_owned).collect())).tell().await;
        assert!(tell("true ; false").await.unwrap());
        assert!(tell("false").await.unwrap_err().to_string().contains("failed (exit status: 1)"));
        assert!(tell("/nonexistent/reload").await.unwrap_err().to_string().contains("cannot be run"));
        assert!(!of(Way::Watcher).tell().await.unwrap());
        // Whoever looks what the broker does was woken.
        timeout(COMMAND_PATIENCE, recheck.asked()).await.unwrap();
    }
}
