//! The policy in force, and the task that reads it anew: on SIGHUP, and when the file has changed.
//!
//! A file that is wrong changes nothing: the policy that was good goes on, and the log says where the fault is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Policy;
use super::file::{self, PolicyFileError};
use crate::disk;
use crate::telemetry::hooks::HookMetrics;

/// How often the file is looked at: cheap, and a change acts as soon as a person expects it.
const LOOK: Duration = Duration::from_secs(2);

/// Where the policy in force is. Clones share it.
#[derive(Clone, Debug)]
pub struct ActivePolicy(Arc<RwLock<Arc<Policy>>>);

/// Keeps the rulebook up to date.
pub struct PolicyReloader {
    rulebook: ActivePolicy,
    path: Option<PathBuf>,
    seen: Option<FileStamp>,
    /// Whether the file system answered at the last look.
    is_reachable: bool,
    metrics: HookMetrics,
}

/// By what a changed file is told from the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

/// Reads the policy, or takes what is built in when there is no file; its keeper must be run.
pub fn open(path: Option<&Path>, metrics: HookMetrics) -> Result<(ActivePolicy, PolicyReloader), PolicyFileError> {
    // Looked at before it is read: what changes in between is read again.
    let seen = path.and_then(FileStamp::of);
    let policy = path.map_or_else(|| Ok(Policy::built_in()), file::load)?;
    let rulebook = ActivePolicy(Arc::new(RwLock::new(Arc::new(policy))));
    let (rulebook_of, path) = (rulebook.clone(), path.map(Path::to_owned));
    let keeper = PolicyReloader { rulebook: rulebook_of, path, seen, is_reachable: true, metrics };
    Ok((rulebook, keeper))
}

// === impl Rulebook ===

impl ActivePolicy {
    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

// === impl RulebookKeeper ===

impl PolicyReloader {
    /// Works until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be heard; a changed policy file is noticed all the same");
            return self.look_until(stop).await;
        };
        loop {
            let hung_up = tokio::select! {
                () = stop.cancelled() => return,
                heard = hangup.recv() => heard.is_some(),
                () = tokio::time::sleep(LOOK) => false,
            };
            self.look(hung_up).await;
        }
    }

    async fn look_until(mut self, stop: CancellationToken) {
        while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
            self.look(false).await;
        }
    }

    async fn look(&mut self, is_asked_for: bool) {
        let Some(path) = self.path.clone() else {
            if is_asked_for {
                tracing::info!("SIGHUP: ACL_RULES_PATH is not set, so there is no policy to read anew");
            }
            return;
        };
        // File systems may hang, and the thread here answers the broker.
        let at = path.clone();
        let stamp = match disk::apart(&path, move || FileStamp::of(&at)).await {
            Ok(stamp) => stamp,
            Err(error) => return self.keep(&error.to_string()),
        };
        self.is_reachable = true;
        if stamp == self.seen && !is_asked_for {
            return;
        }
        self.seen = stamp;
        let at = path.clone();
        let read = disk::apart(&path, move || file::load(&at)).await;
        match read {
            Ok(Ok(policy)) => {
                let rules = policy.allows().len() + policy.denies().len();
                self.rulebook.replace(policy);
                self.metrics.plain.policy_current.set(1);
                tracing::info!(rules, "the policy was read anew and holds from now on");
            }
            Ok(Err(error)) => {
                self.metrics.plain.policy_current.set(0);
                tracing::error!(%error, "the policy that was in force goes on; correct the file");
            }
            Err(error) => self.keep(&error.to_string()),
        }
    }

    /// The file cannot be reached: said once, and at each look shown by the metric.
    fn keep(&mut self, error: &str) {
        self.metrics.plain.policy_current.set(0);
        // When it can be reached again it is read, whatever its stamp says.
        self.seen = None;
        if std::mem::take(&mut self.is_reachable) {
            tracing::error!(%error, "the policy cannot be read: the file is not reachable; the policy in force stays");
        }
    }
}

// === impl Stamp ===

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata().ok()?;
        Some(Self { modified: metadata.modified().ok()?, bytes: metadata.len(), inode: metadata.ino() })
    }
}
