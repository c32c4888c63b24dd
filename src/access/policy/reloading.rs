//! The active policy, which is replaced on SIGHUP and when the file changes.
//!
//! A file with faults changes nothing: the previous policy stays active, and the log names the
//! faults.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::Policy;
use super::file::{self, PolicyFileError};
use crate::lifecycle::file_watch::{FileStamp, FileWatch, WatchedFile};
use crate::lifecycle::health_reporter::HealthTexts;
use crate::lifecycle::service_manager::ServiceProgress;
use crate::telemetry::hooks::HookMetrics;

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "the file system of the policy file does not answer",
    action: "the previous policy stays active, and Sluice reads the file when it answers",
    recovered: "the policy file is reachable again",
};

/// The active policy. Clones share it.
#[derive(Clone, Debug)]
pub struct ActivePolicy(Arc<RwLock<Arc<Policy>>>);

/// Reloads the active policy.
pub struct PolicyReloader(FileWatch<WatchedPolicy>);

struct WatchedPolicy {
    active: ActivePolicy,
    metrics: HookMetrics,
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
    let watched = WatchedPolicy { active: active.clone(), metrics };
    let watch = FileWatch::new(path.map(Path::to_owned), last_stamp, HEALTH_TEXTS, watched);
    Ok((active, PolicyReloader(watch)))
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
    /// Reports the reads after SIGHUP to the service manager.
    pub(crate) fn reporting_to(self, progress: ServiceProgress) -> Self {
        Self(self.0.reporting_to(progress))
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        self.0.run(stop).await;
    }
}

// === impl WatchedPolicy ===

impl WatchedFile for WatchedPolicy {
    type Content = Result<Policy, PolicyFileError>;

    const LABEL: &'static str = "policy file";

    fn read(path: &Path) -> Self::Content {
        file::load(path)
    }

    fn apply(&mut self, content: Self::Content, _is_requested: bool) {
        match content {
            Ok(policy) => {
                let rules = policy.allows().len() + policy.denies().len();
                self.active.replace(policy);
                self.metrics.plain.policy_current.set(1);
                tracing::info!(rules, "the policy file was read again; its rules are active");
            }
            Err(error) => {
                self.metrics.plain.policy_current.set(0);
                tracing::error!(
                    "reading the policy failed: {error}; the previous policy stays active; correct the file"
                );
            }
        }
    }

    fn unreachable(&mut self) {
        self.metrics.plain.policy_current.set(0);
    }

    fn nothing_to_read(&self) {
        tracing::info!(
            "SIGHUP received: ACL_RULES_PATH is not set, so there is no policy file to read"
        );
    }
}
