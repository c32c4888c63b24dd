//! How the spine waits for Postgres: in place, with backoff and jitter, saying so, and losing nothing.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::telemetry::store::StoreMetrics;

/// The pauses grow from the first to the longest, each drawn between half of itself and the whole.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Waits for one part of the spine.
#[derive(Clone, Debug)]
pub struct Patience {
    part: &'static str,
    metrics: StoreMetrics,
    readiness: Readiness,
    abandon: CancellationToken,
    failures: u32,
    /// What was logged last.
    told: Option<Outage>,
}

// === impl Patience ===

impl Patience {
    /// Patience for this part, which ends when `abandon` is cancelled.
    pub fn new(part: &'static str, metrics: StoreMetrics, readiness: Readiness, abandon: CancellationToken) -> Self {
        Self { part, metrics, readiness, abandon, failures: 0, told: None }
    }

    /// It worked: all is well again.
    pub fn rewarded(&mut self) {
        if self.failures > 0 {
            tracing::info!(part = self.part, failures = self.failures, "Postgres takes what it is given again");
            self.failures = 0;
            self.told = None;
            self.readiness.well(self.part);
        }
    }

    /// Waits for what was asked of Postgres; none when it is time to give up first, and the question is dropped.
    pub async fn wait_for<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answered = asked => Some(answered),
            () = self.abandon.cancelled() => None,
        }
    }

    /// It did not work: says so, once for each reason in a row, then pauses. False when it is time to give up.
    pub async fn pause(&mut self, outage: &Outage) -> bool {
        if self.is_news(outage) {
            tracing::warn!(part = self.part, %outage, "Postgres does not take what it is given; trying again, nothing is lost");
        }
        self.failures += 1;
        self.metrics.retries.inc();
        self.readiness.unwell(self.part, outage.to_string());
        tokio::select! {
            () = self.abandon.cancelled() => false,
            () = tokio::time::sleep(pause_after(self.failures)) => true,
        }
    }

    fn is_news(&mut self, outage: &Outage) -> bool {
        self.told.replace(outage.clone()).as_ref() != Some(outage)
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

    #[test]
    fn another_reason_is_news_and_the_same_one_only_after_it_had_passed() {
        let metrics = Metrics::new().unwrap().store;
        let mut patience = Patience::new("writer", metrics, Readiness::default(), CancellationToken::new());
        let (away, full) = (Outage("nobody answers".into()), Outage("the disk is full".into()));
        let news = [&away, &away, &full, &full].map(|outage| patience.is_news(outage));
        assert_eq!(news, [true, false, true, false]);
        patience.failures = 4;
        patience.rewarded();
        assert!(patience.is_news(&full));
    }
}
