//! How the spine waits for Postgres: in place, with backoff and jitter, saying so, and losing nothing.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::telemetry::outage_log::OutageLog;
use crate::telemetry::store::StoreMetrics;

/// What takes longer than this is not known to be taken: readiness says so, and stays true within three seconds.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// The pauses grow from the first to the longest, each drawn between half of itself and the whole.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Waits for one part of the spine.
#[derive(Clone, Debug)]
pub struct Retry {
    part: &'static str,
    metrics: StoreMetrics,
    readiness: Readiness,
    abandon: CancellationToken,
    failures: u32,
    /// Readiness was told that the answer is late.
    is_late: bool,
    spell: OutageLog,
}

// === impl Patience ===

impl Retry {
    /// Patience for this part, which ends when `abandon` is cancelled.
    pub fn new(part: &'static str, metrics: StoreMetrics, readiness: Readiness, abandon: CancellationToken) -> Self {
        Self { part, metrics, readiness, abandon, failures: 0, is_late: false, spell: OutageLog::default() }
    }

    /// It worked: all is well again.
    pub fn rewarded(&mut self) {
        if self.failures > 0 || self.is_late {
            self.failures = 0;
            self.is_late = false;
            self.readiness.well(self.part);
        }
        if let Some(failures) = self.spell.worked(Instant::now()) {
            tracing::info!(part = self.part, failures, "Postgres takes what it is given again");
        }
    }

    /// Waits for what was asked of Postgres; none when it is time to give up first, and the question is dropped.
    /// While the answer is late, readiness says so.
    pub async fn wait_for<T>(&mut self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(asked);
        tokio::select! {
            biased;
            answered = &mut asked => return Some(answered),
            () = self.abandon.cancelled() => return None,
            () = tokio::time::sleep(LATE_AFTER) => {}
        }
        // What failed before has a reason that says more.
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
            answered = asked => Some(answered),
            () = self.abandon.cancelled() => None,
        }
    }

    /// It did not work: says so, once for each reason, then pauses. False when it is time to give up.
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
    // Without randomness the pause is the whole one: later, never wrong.
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
        let mut patience = Retry::new("writer", metrics, readiness.clone(), CancellationToken::new());
        assert_eq!(patience.wait_for(tokio::time::sleep(Duration::from_millis(1))).await, Some(()));
        assert!(readiness.troubles().is_empty());
        let said = async {
            while readiness.troubles().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            readiness.troubles()
        };
        assert!(patience.wait_for(said).await.unwrap()["writer"].contains("has not answered"));
        patience.rewarded();
        assert!(readiness.troubles().is_empty());
    }
}
