//! Reports the end of each cell's authority, and of one that cannot be used: in a metric, as a
//! warning of readiness, and in the log.
//!
//! A fault of one authority does not make the daemon unready: the others sign on. It signs nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::signer;
use crate::config::sections::certificates::CertificatesConfig;
use crate::disk;
use crate::domain::time::{Clock, MICROS_PER_SECOND};
use crate::lifecycle::Readiness;
use crate::pki::authority::directory::PairName;
use crate::pki::authority::end::AuthorityEnd;
use crate::telemetry::certificates::CertificateMetrics;
use crate::telemetry::logs::Repeated;

/// Time between two reads of the directory.
const PERIOD: Duration = Duration::from_secs(30);
/// Time between two equal warnings.
const LINE_INTERVAL: Duration = Duration::from_hours(12);
/// Authorities that a warning names; `sluice doctor` lists all.
const MAX_NAMED: usize = 3;
/// The component of readiness.
const COMPONENT: &str = "cell_authorities";

/// Watches the authorities in `CELL_AUTHORITIES_DIR`.
#[derive(Debug)]
pub struct CellAuthorityWatch {
    settings: CertificatesConfig,
    metrics: CertificateMetrics,
    readiness: Readiness,
    clock: Clock,
    /// The names that have a series.
    shown: BTreeSet<PairName>,
    /// Limits the warning.
    warning: Repeated,
    /// What the last warning said.
    warned_of: Option<String>,
}

// === impl CellAuthorityWatch ===

impl CellAuthorityWatch {
    /// `None` means that `CELL_AUTHORITIES_DIR` is unset.
    pub fn new(
        settings: &CertificatesConfig,
        metrics: CertificateMetrics,
        readiness: Readiness,
        clock: Clock,
    ) -> Option<Self> {
        settings.cell_authorities_dir.as_ref()?;
        Some(Self {
            settings: settings.clone(),
            metrics,
            readiness,
            clock,
            shown: BTreeSet::new(),
            warning: Repeated::new(LINE_INTERVAL),
            warned_of: None,
        })
    }

    /// Reads the directory every `PERIOD` until `stop` is cancelled.
    pub async fn watch(mut self, stop: CancellationToken) {
        loop {
            let ends = tokio::select! {
                () = stop.cancelled() => return,
                ends = self.read_ends() => ends,
            };
            self.report(ends);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    async fn read_ends(&self) -> Result<Vec<(PairName, AuthorityEnd)>, String> {
        let (settings, now) = (self.settings.clone(), (self.clock)());
        let place = signer::place_of(&self.settings);
        let read = disk::run(place, move || signer::cell_authority_ends(&settings, now)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn report(&mut self, ends: Result<Vec<(PairName, AuthorityEnd)>, String>) {
        let faults = match ends {
            Ok(ends) => {
                self.show(&ends);
                ends.into_iter().filter_map(|(name, end)| fault(&name, end)).collect()
            }
            Err(why) => {
                for name in &self.shown {
                    self.set(name, 0);
                }
                vec![why]
            }
        };
        let what = sentence(&faults);
        self.readiness.warn(COMPONENT, what.clone());
        if what != self.warned_of {
            self.warning = Repeated::new(LINE_INTERVAL);
            self.warned_of.clone_from(&what);
        }
        if let Some(what) = what.filter(|_| self.warning.ready((self.clock)()).is_some()) {
            tracing::warn!("{what}");
        }
    }

    fn show(&mut self, ends: &[(PairName, AuthorityEnd)]) {
        for (name, end) in ends {
            self.set(name, end.at().map_or(0, |end| end.micros() / MICROS_PER_SECOND));
        }
        let now: BTreeSet<PairName> = ends.iter().map(|(name, _)| name.clone()).collect();
        for gone in self.shown.difference(&now) {
            // It fails only for a series that is gone already.
            let _ = self.metrics.cell_authority_not_after.remove_label_values(&[gone.as_str()]);
        }
        self.shown = now;
    }

    fn set(&self, name: &PairName, seconds: i64) {
        self.metrics.cell_authority_not_after.with_label_values(&[name.as_str()]).set(seconds);
    }
}

// --- private helpers ---

fn fault(name: &PairName, end: AuthorityEnd) -> Option<String> {
    match end {
        AuthorityEnd::Far(_) => None,
        AuthorityEnd::Near(_, why) | AuthorityEnd::Past(_, why) | AuthorityEnd::Unknown(why) => {
            Some(format!("authority {name}: {why}"))
        }
    }
}

/// The first faults, and how many others there are.
fn sentence(faults: &[String]) -> Option<String> {
    let named = faults.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
    match faults.len() {
        0 => None,
        1..=MAX_NAMED => Some(named),
        all => Some(format!("{named}; and {} others", all - MAX_NAMED)),
    }
}
