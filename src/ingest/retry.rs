//! Retries for Postgres: wait with backoff and jitter, report to readiness and log, lose nothing.
//!
//! It runs no query itself.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::lifecycle::backoff::Backoff;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::telemetry::store::StoreMetrics;

/// An answer is late after this time, and readiness reports it; so readiness is true within three
/// seconds.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// Pauses between two attempts grow from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const TEXTS: HealthTexts = HealthTexts {
    failed: "request to Postgres failed",
    action: "retrying, no message is lost",
    recovered: "requests to Postgres succeed again",
};

/// Retries of one component of the spine.
#[derive(Clone, Debug)]
pub struct Retry {
    metrics: StoreMetrics,
    abandon: CancellationToken,
    backoff: Backoff,
    health: HealthReporter,
}

// === impl Retry ===

impl Retry {
    /// Retries for `component` until `abandon` is cancelled.
    pub fn new(
        component: &'static str,
        metrics: StoreMetrics,
        readiness: Readiness,
        abandon: CancellationToken,
    ) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let health = HealthReporter::new(component, readiness, TEXTS);
        Self { metrics, abandon, backoff, health }
    }

    /// Records a success: readiness is well.
    pub fn reset(&mut self) {
        self.backoff.reset();
        self.health.worked(Instant::now());
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
        // After a failure, its cause is more precise.
        if self.backoff.failures() == 0 {
            self.health.show(format!(
                "Postgres has not answered for more than {} s; waiting, no message is lost: check \
                 for locks, for load, and the network to Postgres",
                LATE_AFTER.as_secs()
            ));
        }
        tokio::select! {
            biased;
            answered = query => Some(answered),
            () = self.abandon.cancelled() => None,
        }
    }

    /// Records a failure, logs each cause once, and pauses. False means give up.
    pub async fn pause(&mut self, outage: &Outage) -> bool {
        self.metrics.retries.inc();
        self.health.failed(&outage.0, Instant::now());
        tokio::select! {
            () = self.abandon.cancelled() => false,
            () = tokio::time::sleep(self.backoff.next_pause()) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn readiness_shows_a_late_answer_until_it_arrives() {
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
