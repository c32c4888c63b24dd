//! The active policy, and the task that reloads it on SIGHUP and when the file changes.
//!
//! A file with faults changes nothing: the previous policy stays active, and the log names the
//! faults.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Policy;
use super::file::{self, PolicyFileError};
use crate::disk;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::hooks::HookMetrics;

/// How often the stamp of the file is checked: it is cheap, and an operator expects a change to act
/// at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "the file system of the policy file does not answer",
    action: "the previous policy stays active, and Sluice reads the file when it answers",
    recovered: "the policy file is reachable again",
};

/// The active policy. Clones share it.
#[derive(Clone, Debug)]
pub struct ActivePolicy(Arc<RwLock<Arc<Policy>>>);

/// Reloads the active policy.
pub struct PolicyReloader {
    active: ActivePolicy,
    path: Option<PathBuf>,
    last_stamp: Option<FileStamp>,
    /// Whether the file can be reached.
    health: HealthReporter,
    metrics: HookMetrics,
}

/// What identifies one version of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

/// Reads the policy at `path`; `None` means the built-in policy. The caller must run the reloader.
pub fn open(
    path: Option<&Path>,
    metrics: HookMetrics,
) -> Result<(ActivePolicy, PolicyReloader), PolicyFileError> {
    // The stamp is taken before the read: a change in between causes another read.
    let last_stamp = path.and_then(FileStamp::of);
    let policy = path.map_or_else(|| Ok(Policy::built_in()), file::load)?;
    let active = ActivePolicy(Arc::new(RwLock::new(Arc::new(policy))));
    let reloader = PolicyReloader {
        active: active.clone(),
        path: path.map(Path::to_owned),
        last_stamp,
        health: HealthReporter::log_only("access policy", HEALTH_TEXTS).at_error_level(),
        metrics,
    };
    Ok((active, reloader))
}

// === impl ActivePolicy ===

impl ActivePolicy {
    /// The active policy.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

// === impl PolicyReloader ===

impl PolicyReloader {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!(
                "installing the SIGHUP handler failed; Sluice still reads a changed policy file within 2 s"
            );
            return self.run_without_signal(stop).await;
        };
        loop {
            let is_requested = tokio::select! {
                () = stop.cancelled() => return,
                received = hangup.recv() => received.is_some(),
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
            };
            self.reload_if_changed(is_requested).await;
        }
    }

    async fn run_without_signal(mut self, stop: CancellationToken) {
        while tokio::time::timeout(CHECK_INTERVAL, stop.cancelled()).await.is_err() {
            self.reload_if_changed(false).await;
        }
    }

    async fn reload_if_changed(&mut self, is_requested: bool) {
        let Some(path) = self.path.clone() else {
            if is_requested {
                tracing::info!(
                    "SIGHUP received: ACL_RULES_PATH is not set, so there is no policy file to read"
                );
            }
            return;
        };
        // A file system can hang, and this thread also answers the broker.
        let at = path.clone();
        let stamp = match disk::run(&path, move || FileStamp::of(&at)).await {
            Ok(stamp) => stamp,
            Err(error) => return self.report_unreachable(&error.to_string()),
        };
        self.health.worked(Instant::now());
        if stamp == self.last_stamp && !is_requested {
            return;
        }
        self.last_stamp = stamp;
        let at = path.clone();
        let read = disk::run(&path, move || file::load(&at)).await;
        match read {
            Ok(Ok(policy)) => {
                let rules = policy.allows().len() + policy.denies().len();
                self.active.replace(policy);
                self.metrics.plain.policy_current.set(1);
                tracing::info!(rules, "the policy file was read again; its rules are active");
            }
            Ok(Err(error)) => {
                self.metrics.plain.policy_current.set(0);
                tracing::error!(
                    "reading the policy failed: {error}; the previous policy stays active; correct the file"
                );
            }
            Err(error) => self.report_unreachable(&error.to_string()),
        }
    }

    /// Records that the file is unreachable, in the metric and the log.
    fn report_unreachable(&mut self, error: &str) {
        self.metrics.plain.policy_current.set(0);
        // Once the file is reachable again, it is read whatever its stamp.
        self.last_stamp = None;
        self.health.failed(error, Instant::now());
    }
}

// === impl FileStamp ===

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata().ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            bytes: metadata.len(),
            inode: metadata.ino(),
        })
    }
}
