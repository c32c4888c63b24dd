//! The demo's daemon: `sluice run` as a child process, with the demo's own settings and a log file.
//!
//! It has a process group of its own, so that Ctrl-C in the terminal is the demo's to answer: the daemon stops last. When
//! the demo fails or gives up, its daemon is killed; what it had not stored stays with the broker.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::command::failure::{Exit, Failure};
use crate::config::Sources;
use crate::config::sections::ingest::RateLimit;
use crate::http::ops_client;

/// How often a daemon that starts is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The demo's own devices show whether the broker isolates them, and the summary names what they found.
const SHOWN_BY_THE_DEVICES: &str = "isolation";

/// A daemon that is not ready by then will not be.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// A port that was free may be taken before the daemon has it; so often another is tried.
const ATTEMPTS: usize = 5;

/// How the daemon is to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Where its settings come from: the environment is inherited, files and flags are handed on.
    pub sources: &'a Sources,
    /// Where its ops endpoints should be; when that is taken, on another port.
    pub ops: SocketAddr,
    /// The limit that the hasty device runs into.
    pub rate_limit: RateLimit,
    /// Where its log goes.
    pub log: &'a Path,
    /// How long it may take to stop.
    pub shutdown_timeout: Duration,
}

/// A running daemon; it is killed when this is dropped.
#[derive(Debug)]
pub struct DaemonProcess {
    child: Child,
    ops: SocketAddr,
    log: PathBuf,
    shutdown_timeout: Duration,
}

// === impl Launch ===

impl Launch<'_> {
    /// Starts the daemon and waits until it is ready.
    pub async fn start(&self) -> Result<DaemonProcess, Failure> {
        let mut ops = free(self.ops).or_else(|_| free(any_port(self.ops)))?;
        for _ in 1..ATTEMPTS {
            let mut daemon = self.spawn(ops)?;
            match daemon.ready().await {
                // Somebody took the port between our look and the daemon's.
                Err(_) if daemon.has_ended() && free(ops).is_err() => ops = free(any_port(ops))?,
                ended => return ended.map(|()| daemon),
            }
        }
        Err(Failure::unavailable(format!("no port of {} stays free for the daemon's metrics", ops.ip())))
    }

    fn spawn(&self, ops: SocketAddr) -> Result<DaemonProcess, Failure> {
        let log = self.open_log().map_err(|error| self.log_trouble(&error))?;
        let errors = log.try_clone().map_err(|error| self.log_trouble(&error))?;
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(file) = &self.sources.config_file {
            command.arg("--config").arg(file);
        }
        for (name, value) in &self.sources.flags {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        // The API takes any free port: the demonstration does not use it, and must not fail for a port that is taken.
        command.arg("run").env("OPS_BIND", ops.to_string()).env("HTTP_BIND", "127.0.0.1:0");
        command.env("RATE_LIMIT_RPS", self.rate_limit.per_second.to_string());
        command.env("RATE_LIMIT_BURST", self.rate_limit.burst.to_string());
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| Failure::new(Exit::Internal, format!("the daemon cannot be started: {error}")))?;
        Ok(DaemonProcess { child, ops, log: self.log.to_owned(), shutdown_timeout: self.shutdown_timeout })
    }

    fn open_log(&self) -> io::Result<File> {
        if let Some(parent) = self.log.parent() {
            std::fs::create_dir_all(parent)?;
        }
        File::create(self.log)
    }

    fn log_trouble(&self, error: &io::Error) -> Failure {
        Failure::usage(format!(
            "the daemon's log cannot be written to {}: {error}; name another with --log",
            self.log.display()
        ))
    }
}

// === impl Daemon ===

impl DaemonProcess {
    /// Where its metrics are.
    pub const fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// Waits until it ends although nobody told it to.
    pub async fn died(&mut self) -> Failure {
        match self.child.wait().await {
            Ok(status) => self.failure(&format!("the daemon ended: {status}")),
            Err(error) => self.failure(&format!("the daemon cannot be watched: {error}")),
        }
    }

    /// Tells it to stop and waits until it has; what it received is stored by then.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(id) = self.child.id() {
            // The id is the child's for certain: it has not been waited for. The shell's own kill is on every machine.
            let mut kill = Command::new("/bin/sh");
            kill.args(["-c", "kill -s TERM \"$0\"", &id.to_string()]).status().await?;
        }
        let ended = tokio::time::timeout(self.shutdown_timeout.saturating_add(ASK_EVERY * 20), self.child.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failure(&format!("the daemon did not stop well: {status}"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(self.failure("the daemon did not stop in time and is killed")),
        }
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        let ops = self.ops;
        let asking = async {
            while !ops_client::get(ops, "/readyz")
                .await
                .is_ok_and(|(status, body)| is_ready_for_the_demo(status, &body))
            {
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::select! {
            failure = self.died() => return Err(failure),
            asked = tokio::time::timeout(START_PATIENCE, asking) => if asked.is_ok() { return Ok(()) },
        }
        let why = ops_client::get(ops, "/readyz").await.map_or_else(|error| error.to_string(), |(_, body)| body);
        Err(self.failure(&format!("the daemon is not ready after {} s: {why}", START_PATIENCE.as_secs())))
    }

    fn has_ended(&mut self) -> bool {
        let ended: io::Result<Option<ExitStatus>> = self.child.try_wait();
        !matches!(ended, Ok(None))
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::unavailable(format!("{what}; its log is {}", self.log.display()))
    }
}

// === private helpers ===

const fn any_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

/// The address when it can be listened on now; for port 0, with a port that can be.
fn free(address: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(address)?.local_addr()
}

/// Whether `/readyz` names no trouble but the one that the devices show.
fn is_ready_for_the_demo(status: u16, body: &str) -> bool {
    let troubles = || serde_json::from_str::<serde_json::Value>(body).ok()?.get("troubles")?.as_object().cloned();
    status == 200 || troubles().is_some_and(|troubles| troubles.keys().all(|part| part == SHOWN_BY_THE_DEVICES))
}
