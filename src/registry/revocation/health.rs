//! Reports the state of revocation in readiness, and in the log when it changes.
//!
//! It fixes nothing.

use crate::lifecycle::Readiness;

/// The component of readiness that revocation reports.
const COMPONENT: &str = "revocation";

/// Reports the state of revocation: always in readiness, and in the log when it changes.
pub struct RevocationHealth {
    readiness: Readiness,
    reported: Option<String>,
}

// === impl RevocationHealth ===

impl RevocationHealth {
    pub(super) const fn new(readiness: Readiness) -> Self {
        Self { readiness, reported: None }
    }

    pub(super) fn report_ok(&mut self) {
        self.readiness.well(COMPONENT);
        if self.reported.take().is_some() {
            tracing::info!("revocation works again");
        }
    }

    pub(super) fn report_fault(&mut self, why: String) {
        self.readiness.unwell(COMPONENT, why.clone());
        if self.reported.as_ref() != Some(&why) {
            tracing::error!(%why, "revocation does not work; Sluice retries");
            self.reported = Some(why);
        }
    }
}
