//! Reads a file again on SIGHUP and when it changes: the access policy, the links file.
//!
//! It does not know what is in the file. A file system that hangs blocks no other work.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::health_reporter::{HealthReporter, HealthTexts};
use super::service_manager::ServiceProgress;
use crate::disk;

/// How often the stamp of the file is checked: it is cheap, and an operator expects a change to act
/// at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What is made of the file.
pub(crate) trait WatchedFile: Send + 'static {
    /// What a read yields.
    type Content: Send + 'static;

    /// Its name in the log: "policy file".
    const LABEL: &'static str;

    /// Reads the file. Blocks.
    fn read(path: &Path) -> Self::Content;

    /// Takes what was read; `is_requested` after SIGHUP.
    fn apply(&mut self, content: Self::Content, is_requested: bool);

    /// Notes that the file is unreachable; the log has it.
    fn unreachable(&mut self);

    /// SIGHUP came, and there is no file.
    fn nothing_to_read(&self) {}
}

/// Watches one file.
pub(crate) struct FileWatch<W> {
    path: Option<PathBuf>,
    last_stamp: Option<FileStamp>,
    /// Whether the file can be reached.
    health: HealthReporter,
    watched: W,
    /// Where the reads after SIGHUP are reported.
    progress: ServiceProgress,
}

/// What identifies one version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

// === impl FileWatch ===

impl<W: WatchedFile> FileWatch<W> {
    /// Watches `path`, whose version `last_stamp` was read before; without one it is read again soon.
    pub fn new(
        path: Option<PathBuf>,
        last_stamp: Option<FileStamp>,
        texts: HealthTexts,
        watched: W,
    ) -> Self {
        let health = HealthReporter::log_only(W::LABEL, texts).at_error_level();
        Self { path, last_stamp, health, watched, progress: ServiceProgress::default() }
    }

    /// Reports the reads after SIGHUP to the service manager.
    pub fn reporting_to(self, progress: ServiceProgress) -> Self {
        Self { progress, ..self }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!(
                "installing the SIGHUP handler failed; Sluice still reads a changed {} within 2 s",
                W::LABEL
            );
            return self.run_without_signal(stop).await;
        };
        loop {
            let is_requested = tokio::select! {
                () = stop.cancelled() => return,
                received = hangup.recv() => received.is_some(),
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
            };
            if is_requested {
                self.progress.reload_begins();
            }
            self.reload_if_changed(is_requested).await;
            if is_requested {
                self.progress.reload_ends();
            }
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
                self.watched.nothing_to_read();
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
        match disk::run(&path, move || W::read(&at)).await {
            Ok(content) => self.watched.apply(content, is_requested),
            Err(error) => self.report_unreachable(&error.to_string()),
        }
    }

    fn report_unreachable(&mut self, error: &str) {
        self.watched.unreachable();
        // Once the file is reachable again, it is read whatever its stamp.
        self.last_stamp = None;
        self.health.failed(error, Instant::now());
    }
}

// === impl FileStamp ===

impl FileStamp {
    /// The stamp of the file; `None` if there is none.
    pub fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata().ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            bytes: metadata.len(),
            inode: metadata.ino(),
        })
    }
}
