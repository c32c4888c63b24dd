//! Watches the end of the authority: in a metric, in readiness, and in the log, long before and after it.
//!
//! It signs nothing and renews nothing: a new authority is the operator's decision.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::sections::certificates::CertificatesConfig;
use crate::domain::time::{Clock, MICROS_PER_SECOND};
use crate::lifecycle::Readiness;
use crate::pki::authority::end::AuthorityEnd;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::logs::Repeated;

/// How often the file is read: another authority in its place is seen within this.
const PERIOD: Duration = Duration::from_secs(30);
/// How long reading it may take; a mount that hangs must not hold the task up.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// How often the same line is written.
const LINE_INTERVAL: Duration = Duration::from_hours(12);
/// The part of readiness that this module speaks for.
const PART: &str = "authority";

/// Watches the authority the settings name.
#[derive(Debug)]
pub struct AuthorityWatch {
    path: PathBuf,
    metrics: CertificateMetrics,
    readiness: Readiness,
    clock: Clock,
    line: Repeated,
    said: Option<String>,
}

// === impl AuthorityWatch ===

impl AuthorityWatch {
    /// None without `DEVICE_CA_CERT_PATH`.
    pub fn new(
        settings: &CertificatesConfig,
        metrics: CertificateMetrics,
        readiness: Readiness,
        clock: Clock,
    ) -> Option<Self> {
        let path = settings.ca_cert_path.clone()?;
        Some(Self { path, metrics, readiness, clock, line: Repeated::new(LINE_INTERVAL), said: None })
    }

    /// Looks until told to stop.
    pub async fn watch(mut self, stop: CancellationToken) {
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            self.tell(looked);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    async fn look(&self) -> AuthorityEnd {
        let (path, now) = (self.path.clone(), (self.clock)());
        let work = spawn_blocking(move || AuthorityEnd::of_file(&path, now));
        let late = || format!("{} was not read within {} s", self.path.display(), READ_PATIENCE.as_secs());
        match timeout(READ_PATIENCE, work).await {
            Ok(looked) => looked.unwrap_or_else(|panicked| AuthorityEnd::Unknown(panicked.to_string())),
            Err(_) => AuthorityEnd::Unknown(late()),
        }
    }

    fn tell(&mut self, end: AuthorityEnd) {
        self.metrics.authority_not_after.set(end.at().map_or(0, |end| end.micros() / MICROS_PER_SECOND));
        self.readiness.warn(PART, None);
        match end {
            AuthorityEnd::Far(_) => {
                self.readiness.well(PART);
                self.said = None;
            }
            AuthorityEnd::Near(at, why) => {
                self.readiness.well(PART);
                if self.is_news(format!("near {at}")) {
                    tracing::warn!("{why}");
                }
                self.readiness.warn(PART, Some(why));
            }
            AuthorityEnd::Past(_, why) | AuthorityEnd::Unknown(why) => {
                self.readiness.unwell(PART, why.clone());
                if self.is_news(why.clone()) {
                    tracing::error!("the authority cannot sign: {why}");
                }
            }
        }
    }

    /// Whether to write this line: when it changed, and again after a while.
    fn is_news(&mut self, what: String) -> bool {
        let is_other = self.said.as_ref() != Some(&what);
        if is_other {
            self.line = Repeated::new(LINE_INTERVAL);
            self.said = Some(what);
        }
        self.line.ready((self.clock)()).is_some()
    }
}
