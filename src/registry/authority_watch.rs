//! Reports the end of the authority in a metric, in readiness and in the log, before and after it.
//!
//! It signs nothing and renews nothing: a new authority is the operator's decision.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::health;
use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::{Clock, MICROS_PER_SECOND, Timestamp};
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::pki::authority::end::AuthorityEnd;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::logs::Repeated;

/// Time between two reads of the file: an authority that replaces this one is noticed within it.
const PERIOD: Duration = Duration::from_secs(30);
/// Longest time for one read; a mount that hangs must not block the task.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two equal warnings.
const LINE_INTERVAL: Duration = Duration::from_hours(12);
/// The component of readiness, and its sentences.
const COMPONENT: &str = "authority";
const HEALTH: HealthTexts = HealthTexts {
    failed: "the authority cannot sign",
    action: "Sluice reads its certificate again every 30 s",
    recovered: "the authority can sign again",
};

/// Watches the authority that the settings name.
#[derive(Debug)]
pub struct AuthorityWatch {
    path: PathBuf,
    metrics: CertificateMetrics,
    readiness: Readiness,
    health: HealthReporter,
    clock: Clock,
    /// Limits the warning before the end.
    warning: Repeated,
    /// The end that the last warning named.
    warned_of: Option<Timestamp>,
}

// === impl AuthorityWatch ===

impl AuthorityWatch {
    /// `None` means that `DEVICE_CA_CERT_PATH` is unset.
    pub fn new(
        settings: &CertificatesConfig,
        metrics: CertificateMetrics,
        readiness: Readiness,
        clock: Clock,
    ) -> Option<Self> {
        let path = settings.ca_cert_path.clone()?;
        Some(Self {
            path,
            metrics,
            health: health::reporter(COMPONENT, readiness.clone(), HEALTH),
            readiness,
            clock,
            warning: Repeated::new(LINE_INTERVAL),
            warned_of: None,
        })
    }

    /// Reads the file every `PERIOD` until `stop` is cancelled.
    pub async fn watch(mut self, stop: CancellationToken) {
        loop {
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.read_end() => end,
            };
            self.report(end);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    async fn read_end(&self) -> AuthorityEnd {
        let (path, now) = (self.path.clone(), (self.clock)());
        let task = spawn_blocking(move || AuthorityEnd::of_file(&path, now));
        let late =
            || format!("{} was not read within {} s", self.path.display(), READ_TIMEOUT.as_secs());
        match timeout(READ_TIMEOUT, task).await {
            Ok(end) => end.unwrap_or_else(|panicked| AuthorityEnd::Unknown(panicked.to_string())),
            Err(_) => AuthorityEnd::Unknown(late()),
        }
    }

    fn report(&mut self, end: AuthorityEnd) {
        self.metrics
            .authority_not_after
            .set(end.at().map_or(0, |end| end.micros() / MICROS_PER_SECOND));
        self.readiness.warn(COMPONENT, None);
        let now = Instant::now().into_std();
        match end {
            AuthorityEnd::Far(_) => {
                self.health.worked(now);
                self.warned_of = None;
            }
            AuthorityEnd::Near(at, why) => {
                self.health.worked(now);
                if self.warned_of.replace(at) != Some(at) {
                    self.warning = Repeated::new(LINE_INTERVAL);
                }
                if self.warning.ready((self.clock)()).is_some() {
                    tracing::warn!("{why}");
                }
                self.readiness.warn(COMPONENT, Some(why));
            }
            AuthorityEnd::Past(_, why) | AuthorityEnd::Unknown(why) => {
                self.health.failed(&why, now);
                self.warned_of = None;
            }
        }
    }
}
