//! Reads the links file again on SIGHUP and when it changes, and passes its links on.
//!
//! A file with faults changes nothing: the previous links stay active, and the log names the faults.
//! It starts and stops no link.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::LinksFileError;
use super::load::load;
use crate::lifecycle::file_watch::{FileWatch, WatchedFile};
use crate::lifecycle::health_reporter::HealthTexts;
use crate::lifecycle::service_manager::ServiceProgress;
use crate::link::settings::LinkSet;
use crate::telemetry::links::LinkMetrics;

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "the file system of the links file does not answer",
    action: "the previous links stay active, and Sluice reads the file when it answers",
    recovered: "the links file is reachable again",
};

/// Reloads the active links.
pub struct LinksReloader(FileWatch<WatchedLinks>);

struct WatchedLinks {
    active: watch::Sender<Arc<LinkSet>>,
    metrics: LinkMetrics,
}

// === impl LinksReloader ===

impl LinksReloader {
    /// Replaces the links in `active` when the file at `path` has others. Without a path it waits.
    pub fn new(
        path: Option<PathBuf>,
        active: watch::Sender<Arc<LinkSet>>,
        metrics: LinkMetrics,
    ) -> Self {
        metrics.file_current.set(1);
        // Without a stamp the file is read once more: it may have changed since the start.
        Self(FileWatch::new(path, None, HEALTH_TEXTS, WatchedLinks { active, metrics }))
    }

    /// Reports the reads after SIGHUP to the service manager.
    pub(crate) fn reporting_to(self, progress: ServiceProgress) -> Self {
        Self(self.0.reporting_to(progress))
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        self.0.run(stop).await;
    }
}

// === impl WatchedLinks ===

impl WatchedFile for WatchedLinks {
    type Content = Result<LinkSet, LinksFileError>;

    const LABEL: &'static str = "links file";

    fn read(path: &Path) -> Self::Content {
        load(path)
    }

    fn apply(&mut self, content: Self::Content, is_requested: bool) {
        match content {
            Ok(set) => {
                self.metrics.file_current.set(1);
                let links = set.links.len();
                let is_changed = self.active.send_if_modified(|active| {
                    let is_other = **active != set;
                    if is_other {
                        *active = Arc::new(set);
                    }
                    is_other
                });
                match (is_changed, is_requested) {
                    (true, _) => {
                        tracing::info!(
                            links,
                            "the links file was read again; its links are active"
                        );
                    }
                    (false, true) => {
                        tracing::info!(links, "the links file was read again; it has not changed");
                    }
                    (false, false) => {}
                }
            }
            Err(error) => {
                self.metrics.file_current.set(0);
                tracing::error!(
                    "reading the links failed: {error}; the previous links stay active; correct the file"
                );
            }
        }
    }

    fn unreachable(&mut self) {
        self.metrics.file_current.set(0);
    }
}
