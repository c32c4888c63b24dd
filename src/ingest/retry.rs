//! Retries for Postgres: wait with backoff and jitter, report to readiness and log, lose nothing.
//!
//! It runs no query itself.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::telemetry::outage_log::OutageLog;
use crate::telemetry::store::StoreMetrics;

/// An answer is late after this time, and readiness reports it; so readiness is true within three
/// seconds.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// Pauses grow from the first to the longest, each drawn between its half and its whole.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Retries of one component of the spine.
#[derive(Clone, Debug)]
pub struct Retry {
    part: &'static str,
    metrics: StoreMetrics,
    readiness: Readiness,
    abandon: CancellationToken,
    failures: u32,
    /// Whether readiness reports a late answer.
    is_late: bool,
    spell: OutageLog,
}

// === impl Retry ===

impl Retry {
    /// Retries for `part` until `abandon` is cancelled.
    pub fn new(
        part: &'static str,
        metrics: StoreMetrics,
        readiness: Readiness,
        abandon: CancellationToken,
    ) -> Self {
        Self {
            part,
            metrics,
            readiness,
            abandon,
            failures: 0,
            is_late: false,
            spell: OutageLog::default(),
        }
    }

    /// Records a success: readiness is well.
    pub fn reset(&mut self) {
        if self.failures > 0 || self.is_late {
            self.failures = 0;
            self.is_late = false;
            self.readiness.well(self.part);
        }
        if let Some(failures) = self.spell.worked(Instant::now()) {
            tracing::info!(part = self.part, failures, "Postgres takes what it is given again");
        }
    }

    /// Waits for `query`, and reports a late answer. `None` means `abandon` was cancelled and the
    /// query dropped.
    pub async fn wait_for<T>(&mut self, query: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(query);
        tokio::select! {
            biased;
            answered = &mut query => return Some(answered),
            () = self.abandon.cancelled() => return None,
            () = tokio::time::sleep(LATE_AFTER) => {}
        }
        // After a failure, its reason is more precise.
        if self.failures == 0 {
            self.is_late = true;
            let seconds = LATE_AFTER.as_secs();
            self.readiness.unwell(
                self.part,
                format!(
                    "Postgres has not answered for more than {seconds} s; waiting, nothing is lost: look for locks, for load, \
                     and at the network to it"
                ),
            );
        }
        tokio::select! {
            biased;
            answered = query => Some(answered),
            () = self.abandon.cancelled() => None,
        }
    }

    /// Records a failure, logs each reason once, and pauses. False means give up.
    pub async fn pause(&mut self, outage: &Outage) -> bool {
        if let Some(held_back) = self.spell.failed(&outage.0, Instant::now()) {
            tracing::warn!(part = self.part, held_back, %outage, "Postgres does not take what it is given; trying again, nothing is lost");
        }
        self.failures += 1;
        self.metrics.retries.inc();
        self.readiness.unwell(self.part, outage.to_string());
        tokio::select! {
            () = self.abandon.cancelled() => false,
            () = tokio::time::sleep(pause_after(self.failures)) => true,
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
    let mut random = [0_u8; 1];
    // Without randomness the pause is the whole: later, and still correct.
    let share = getrandom::fill(&mut random).map_or(255, |()| random[0]);
    whole / 2 + whole / 2 * u32::from(share) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn an_answer_that_is_late_is_said_by_readiness_until_it_is_there() {
        let (metrics, readiness) = (Metrics::new().unwrap().store, Readiness::default());
        let mut retry = Retry::new("writer", metrics, readiness.clone(), CancellationToken::new());
        assert_eq!(retry.wait_for(tokio::time::sleep(Duration::from_millis(1))).await, Some(()));
        assert!(readiness.troubles().is_empty());
        let troubles = async {
            while readiness.troubles().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            readiness.troubles()
        };
        assert!(retry.wait_for(troubles).await.unwrap()["writer"].contains("has not answered"));
        retry.reset();
        assert!(readiness.troubles().is_empty());
    }
}
