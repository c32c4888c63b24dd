//! Notifies the broker of a new CRL: by a signal or by a command. If a watcher on the
//! broker's machine does that, it does nothing.
//!
//! It signals only a Mosquitto process and waits for no effect: a probe checks the effect. A
//! command gets only `PATH` of the environment, which may hold passwords.

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

/// Longest duration of the command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest PID file, in bytes.
const MAX_PID_BYTES: u64 = 64;

/// The name of the program that may be signalled, with or without a version suffix. Its clients are
/// named `mosquitto_...`.
const BROKER_NAME: &str = "mosquitto";

/// The suffix that the kernel adds to the path of a replaced program, as after an upgrade.
const REPLACED: &str = " (deleted)";

/// Notifies the broker that its files changed.
#[derive(Debug)]
pub struct Reload {
    method: ReloadMethod,
    recheck: Recheck,
}

/// Requests a new probe after each reload. Clones share one signal.
#[derive(Clone, Debug, Default)]
pub struct Recheck(Arc<Notify>);

/// How the broker is notified.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReloadMethod {
    /// `BROKER_RELOAD_COMMAND`, split at spaces, without a shell.
    Command(Vec<String>),
    /// `BROKER_PID_FILE`.
    PidFile(PathBuf),
    /// A watcher on the broker's machine detects the change.
    Watcher,
}

/// Why the broker was not notified.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The PID file is unusable.
    #[error(
        "BROKER_PID_FILE {path} cannot be used ({why}): check the broker's pid_file, and that the \
         broker runs"
    )]
    PidFile {
        /// The path.
        path: String,
        /// The cause.
        why: String,
    },
    /// The file system does not respond.
    #[error("BROKER_PID_FILE cannot be read: {0}")]
    Disk(String),
    /// The process is another program.
    #[error(
        "BROKER_PID_FILE {path} names process {pid}, which is {name:?} and not the broker \
         {BROKER_NAME}: Sluice did not signal it; name the broker's own pid_file, or use \
         BROKER_RELOAD_COMMAND if the broker has another name"
    )]
    Stranger {
        /// The path.
        path: String,
        /// The process id in the file.
        pid: i32,
        /// The name of the process.
        name: String,
    },
    /// The system refused the signal.
    #[error(
        "Sluice cannot signal process {pid} ({why}): run Sluice as the broker's user, or use \
         BROKER_RELOAD_COMMAND"
    )]
    Signal {
        /// The process id.
        pid: i32,
        /// The cause.
        why: io::Error,
    },
    /// The command failed.
    #[error("BROKER_RELOAD_COMMAND {0}: run it by hand, as the user that Sluice runs as")]
    Command(String),
}

// === impl Reload ===

impl Reload {
    /// Built from the settings; a command has precedence over a signal.
    pub fn of(settings: &CertificatesConfig) -> Self {
        let method = match (&settings.broker_reload_command, &settings.broker_pid_file) {
            (Some(command), _) => {
                ReloadMethod::Command(command.split_whitespace().map(str::to_owned).collect())
            }
            (None, Some(path)) => ReloadMethod::PidFile(path.clone()),
            (None, None) => ReloadMethod::Watcher,
        };
        Self { method, recheck: Recheck::default() }
    }

    /// Requests a probe from `recheck` after each reload.
    #[must_use]
    pub fn with_recheck(self, recheck: Recheck) -> Self {
        Self { recheck, ..self }
    }

    /// Notifies the broker. `false` means that a watcher does it.
    pub async fn notify(&self) -> Result<bool, ReloadError> {
        let is_notified = match &self.method {
            ReloadMethod::Watcher => false,
            ReloadMethod::PidFile(path) => {
                let at = path.clone();
                let done = disk::run(path, move || signal(&at)).await;
                done.map_err(|error| ReloadError::Disk(error.to_string()))?.map(|()| true)?
            }
            ReloadMethod::Command(words) => run(words).await.map(|()| true)?,
        };
        self.recheck.request();
        Ok(is_notified)
    }
}

// === impl Recheck ===

impl Recheck {
    /// Requests a probe. Several requests before it count as one.
    pub fn request(&self) {
        self.0.notify_one();
    }

    /// Waits for a request.
    pub async fn requested(&self) {
        self.0.notified().await;
    }
}

// --- private helpers ---

fn signal(path: &Path) -> Result<(), ReloadError> {
    let shown = || path.display().to_string();
    let unusable = |why: String| ReloadError::PidFile { path: shown(), why };
    let text = disk::read_text(path, MAX_PID_BYTES).map_err(|error| unusable(error.to_string()))?;
    // A negative number would address a process group.
    let pid = text.trim().parse().ok().filter(|&number: &i32| number > 0).and_then(Pid::from_raw);
    let pid = pid
        .filter(|pid| !pid.is_init())
        .ok_or_else(|| unusable("it contains no process id".to_owned()))?;
    let number = pid.as_raw_nonzero().get();
    let ended = || unusable(format!("process {number} does not exist"));
    let name = std::fs::read_to_string(format!("/proc/{number}/comm"))
        .map_err(|_| ended())?
        .trim()
        .to_owned();
    let program = match std::fs::read_link(format!("/proc/{number}/exe")) {
        Ok(program) => Some(program_name(&program)),
        // A zombie: it has ended and its parent has not waited for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ended()),
        // A process of another user shows only its name.
        Err(_) => None,
    };
    if let Some(name) = [Some(name), program].into_iter().flatten().find(|name| !is_broker(name)) {
        return Err(ReloadError::Stranger { path: shown(), pid: number, name });
    }
    kill_process(pid, Signal::HUP)
        .map_err(|why| ReloadError::Signal { pid: number, why: why.into() })
}

/// Whether `name` is `mosquitto`, with or without a version or suffix. A client such as
/// `mosquitto_sub` is not.
fn is_broker(name: &str) -> bool {
    let rest = name.strip_prefix(BROKER_NAME);
    rest.is_some_and(|rest| {
        rest.bytes().next().is_none_or(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    })
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
    match timeout(COMMAND_TIMEOUT, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ReloadError::Command(format!("failed ({status})"))),
        Ok(Err(error)) => Err(ReloadError::Command(format!("cannot be run ({program}: {error})"))),
        Err(_) => {
            Err(ReloadError::Command(format!("did not end within {} s", COMMAND_TIMEOUT.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_mosquitto_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let reload =
            Reload { method: ReloadMethod::PidFile(path.clone()), recheck: Recheck::default() };
        assert!(
            reload.notify().await.unwrap_err().to_string().contains("cannot be used (No such file")
        );
        for (content, part) in [
            ("", "no process id"),
            ("-1", "no process id"),
            ("1", "no process id"),
            ("2147483647", "does not exist"),
            (&format!("{}\n", std::process::id()), "not the broker mosquitto"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = reload.notify().await.unwrap_err().to_string();
            assert!(error.contains(part), "{content}: {error}");
        }
    }

    #[test]
    fn the_broker_is_recognized_in_each_version_and_its_clients_are_not() {
        for name in ["mosquitto", "mosquitto-2.1.2", "mosquitto2", "mosquitto.real"] {
            assert!(is_broker(name), "{name}");
        }
        for name in [
            "mosquitto_sub",
            "mosquitto_pub",
            "mosquitto_rr",
            "mosquitto_ctrl",
            "mosquittod",
            "sh",
            "",
        ] {
            assert!(!is_broker(name), "{name}");
        }
        assert_eq!(program_name(Path::new("/usr/sbin/mosquitto (deleted)")), "mosquitto");
    }

    #[tokio::test]
    async fn a_client_and_a_program_with_the_name_of_the_broker_are_not_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let reload =
            Reload { method: ReloadMethod::PidFile(path.clone()), recheck: Recheck::default() };
        for called in ["mosquitto_sub", "mosquitto"] {
            let program = dir.path().join(called);
            std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
            let mut process = std::process::Command::new(&program).arg("60").spawn().unwrap();
            std::fs::write(&path, process.id().to_string()).unwrap();
            let error = reload.notify().await.unwrap_err().to_string();
            assert!(error.contains("not the broker mosquitto"), "{called}: {error}");
            assert!(process.try_wait().unwrap().is_none(), "{called} lives");
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn a_command_is_no_shell_and_its_failure_is_reported() {
        let recheck = Recheck::default();
        let of =
            |method| Reload { method, recheck: Recheck::default() }.with_recheck(recheck.clone());
        let notify = async |line: &str| {
            of(ReloadMethod::Command(line.split(' ').map(str::to_owned).collect())).notify().await
        };
        assert!(notify("true ; false").await.unwrap());
        assert!(notify("false").await.unwrap_err().to_string().contains("failed (exit status: 1)"));
        assert!(
            notify("/nonexistent/reload").await.unwrap_err().to_string().contains("cannot be run")
        );
        assert!(!of(ReloadMethod::Watcher).notify().await.unwrap());
        // The reload requested a probe.
        timeout(COMMAND_TIMEOUT, recheck.requested()).await.unwrap();
    }
}
