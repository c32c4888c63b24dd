//! The demo's daemon: `sluice run` as a child process, with the demo's own settings and a log file.
//!
//! It runs in its own process group, so that Ctrl-C reaches the demo alone and the daemon stops
//! last. When the demo fails, the daemon is killed; the broker keeps what was not stored.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::command::failure::{Exit, Failure};
use crate::config::Sources;
use crate::domain::rate_limit::RateLimit;
use crate::http::ops_client;

/// Interval between two readiness checks of a starting daemon.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The readiness component the demo ignores: its own devices show whether the broker isolates them.
const ISOLATION: &str = "isolation";

/// Upper bound for the daemon's start.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// Attempts to start: another process may take a free port before the daemon binds it.
const ATTEMPTS: usize = 5;

/// How to start the daemon.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Sources of its settings: the environment is inherited, file and flags are passed on.
    pub sources: &'a Sources,
    /// Address of its ops endpoints; another port when this one is taken.
    pub ops: SocketAddr,
    /// Address of its API and its console; another port when this one is taken.
    pub api: SocketAddr,
    /// The rate limit that the bursting device exceeds.
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
    api: SocketAddr,
    log: PathBuf,
    shutdown_timeout: Duration,
}

// === impl Launch ===

impl Launch<'_> {
    /// Starts the daemon and waits until it is ready.
    pub async fn start(&self) -> Result<DaemonProcess, Failure> {
        for _ in 1..ATTEMPTS {
            let (ops, api) = free_addresses(self.ops, self.api)?;
            let mut daemon = self.spawn(ops, api)?;
            match daemon.ready().await {
                // Another process took a port between the check and the daemon's bind.
                Err(_) if daemon.has_ended() && !(is_free(ops) && is_free(api)) => {}
                ended => return ended.map(|()| daemon),
            }
        }
        Err(Failure::unavailable(format!(
            "no free ports on {} and {} for the daemon",
            self.ops.ip(),
            self.api.ip()
        )))
    }

    fn spawn(&self, ops: SocketAddr, api: SocketAddr) -> Result<DaemonProcess, Failure> {
        let log = self.open_log().map_err(|error| self.log_failure(&error))?;
        let errors = log.try_clone().map_err(|error| self.log_failure(&error))?;
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(file) = &self.sources.config_file {
            command.arg("--config").arg(file);
        }
        for (name, value) in &self.sources.flags {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command.arg("run").env("OPS_BIND", ops.to_string()).env("HTTP_BIND", api.to_string());
        command.env("RATE_LIMIT_RPS", self.rate_limit.per_second.to_string());
        command.env("RATE_LIMIT_BURST", self.rate_limit.burst.to_string());
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            Failure::new(Exit::Internal, format!("cannot start the daemon: {error}"))
        })?;
        Ok(DaemonProcess {
            child,
            ops,
            api,
            log: self.log.to_owned(),
            shutdown_timeout: self.shutdown_timeout,
        })
    }

    fn open_log(&self) -> io::Result<File> {
        if let Some(parent) = self.log.parent() {
            std::fs::create_dir_all(parent)?;
        }
        File::create(self.log)
    }

    fn log_failure(&self, error: &io::Error) -> Failure {
        Failure::usage(format!(
            "cannot write the daemon's log to {}: {error}; name another file with --log",
            self.log.display()
        ))
    }
}

// === impl DaemonProcess ===

impl DaemonProcess {
    /// The address of its ops endpoints.
    pub const fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// The address of its API and its console.
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Waits until the daemon exits unexpectedly.
    pub async fn died(&mut self) -> Failure {
        match self.child.wait().await {
            Ok(status) => self.failure(&format!("the daemon exited: {status}")),
            Err(error) => self.failure(&format!("cannot wait for the daemon: {error}")),
        }
    }

    /// Sends SIGTERM and waits for the exit; the daemon stores what it received first.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(id) = self.child.id() {
            // The id is still the child's: it has not been waited for.
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
            pid.map_or(Ok(()), |pid| kill_process(pid, Signal::TERM)).map_err(io::Error::from)?;
        }
        let ended = tokio::time::timeout(
            self.shutdown_timeout.saturating_add(POLL_INTERVAL * 20),
            self.child.wait(),
        )
        .await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(self.failure(&format!("the daemon failed while stopping: {status}")))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(self.failure("the daemon did not stop in time; killing it")),
        }
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        let ops = self.ops;
        let polling = async {
            while !ops_client::get(ops, "/readyz")
                .await
                .is_ok_and(|(status, body)| is_ready_for_the_demo(status, &body))
            {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            failure = self.died() => return Err(failure),
            done = tokio::time::timeout(START_PATIENCE, polling) => {
                if done.is_ok() {
                    return Ok(());
                }
            }
        }
        let why = ops_client::get(ops, "/readyz")
            .await
            .map_or_else(|error| error.to_string(), |(_, body)| body);
        Err(self.failure(&format!(
            "the daemon is not ready after {} s: {why}",
            START_PATIENCE.as_secs()
        )))
    }

    fn has_ended(&mut self) -> bool {
        let ended: io::Result<Option<ExitStatus>> = self.child.try_wait();
        !matches!(ended, Ok(None))
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::unavailable(format!("{what}; read its log, {}", self.log.display()))
    }
}

// === private helpers ===

const fn any_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

/// Two different addresses that are free now: these, or others with the same IP address.
fn free_addresses(one: SocketAddr, other: SocketAddr) -> io::Result<(SocketAddr, SocketAddr)> {
    let bound =
        |address| TcpListener::bind(address).or_else(|_| TcpListener::bind(any_port(address)));
    // Both are held, so that the second is not the first.
    let (one, other) = (bound(one)?, bound(other)?);
    Ok((one.local_addr()?, other.local_addr()?))
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// Whether `/readyz` is ready, or names no failure but `ISOLATION`.
fn is_ready_for_the_demo(status: u16, body: &str) -> bool {
    let failures = || {
        serde_json::from_str::<serde_json::Value>(body).ok()?.get("troubles")?.as_object().cloned()
    };
    status == 200
        || failures().is_some_and(|failures| failures.keys().all(|part| part == ISOLATION))
}
