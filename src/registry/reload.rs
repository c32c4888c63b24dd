//! Tells the broker that there is a new CRL: by a signal, by a command, or not at all where a watcher beside it does.
//!
//! It signals nothing but a Mosquitto, and waits for no effect: that is for the proof. A command gets none of our
//! environment but `PATH`, for ours may hold passwords.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::certificates::CertificatesConfig;
use crate::disk;

/// A command that takes longer has hung.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// The longest PID file, in bytes.
const MAX_PID_BYTES: u64 = 64;

/// The name of the process that may be signalled; the kernel cuts names at 15 characters.
const BROKER_NAME: &str = "mosquitto";

/// How the broker hears of a new list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
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
    #[error("BROKER_PID_FILE {path} names process {pid}, which is {name:?} and no {BROKER_NAME}: it was not signalled")]
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
        match (&settings.broker_reload_command, &settings.broker_pid_file) {
            (Some(command), _) => Self::Command(command.split_whitespace().map(str::to_owned).collect()),
            (None, Some(path)) => Self::PidFile(path.clone()),
            (None, None) => Self::Watcher,
        }
    }

    /// Tells it; says whether anybody was told.
    pub async fn tell(&self) -> Result<bool, ReloadError> {
        match self {
            Self::Watcher => Ok(false),
            Self::PidFile(path) => {
                let at = path.clone();
                let done = disk::apart(path, move || signal(&at)).await;
                done.map_err(|error| ReloadError::Disk(error.to_string()))?.map(|()| true)
            }
            Self::Command(words) => run(words).await.map(|()| true),
        }
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
    let name = std::fs::read_to_string(format!("/proc/{number}/comm"));
    let name = name.map_err(|_| unusable(format!("there is no process {number}")))?.trim().to_owned();
    if !name.starts_with(BROKER_NAME) {
        return Err(ReloadError::Stranger { path: shown(), pid: number, name });
    }
    kill_process(pid, Signal::HUP).map_err(|why| ReloadError::Signal { pid: number, why: why.into() })
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
        let reload = Reload::PidFile(path.clone());
        assert!(reload.tell().await.unwrap_err().to_string().contains("cannot be used (No such file"));
        for (content, part) in [
            ("", "no process id"),
            ("-1", "no process id"),
            ("1", "no process id"),
            ("2147483647", "there is no process"),
            (&format!("{}\n", std::process::id()), "no mosquitto"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = reload.tell().await.unwrap_err().to_string();
            assert!(error.contains(part), "{content}: {error}");
        }
    }

    #[tokio::test]
    async fn a_command_is_no_shell_and_its_failure_is_told() {
        let tell = async |line: &str| Reload::Command(line.split(' ').map(str::to_owned).collect()).tell().await;
        assert!(tell("true ; false").await.unwrap());
        assert!(tell("false").await.unwrap_err().to_string().contains("failed (exit status: 1)"));
        assert!(tell("/nonexistent/reload").await.unwrap_err().to_string().contains("cannot be run"));
        assert!(!Reload::Watcher.tell().await.unwrap());
    }
}
