//! How many messages a lane sends in a second, over about the last minute.
//!
//! It keeps a few counts for each link and reads no clock.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time over which a rate is taken.
const PERIOD: Duration = Duration::from_mins(1);

/// The least time between two counts that are kept, so that at most thirteen are.
const STEP: Duration = Duration::from_secs(5);

/// A shorter time gives no rate.
const SHORTEST: Duration = Duration::from_secs(1);

/// The counts of the lanes of one link.
#[derive(Debug, Default)]
pub(super) struct SendRates {
    counts: VecDeque<(Instant, Vec<u64>)>,
}

// === impl SendRates ===

impl SendRates {
    /// Adds the acknowledged messages of each lane since the start.
    pub(super) fn add(&mut self, now: Instant, published: &[u64]) {
        while self.counts.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= PERIOD) {
            self.counts.pop_front();
        }
        let last = self.counts.back();
        if last.is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
            self.counts.push_back((now, published.to_vec()));
        }
    }

    /// Messages a second of the lane, and the time over which; `None`: it is too short.
    pub(super) fn of(&self, lane: usize, published: u64, now: Instant) -> Option<(f64, Duration)> {
        let (at, counts) = self.counts.front()?;
        let over = now.duration_since(*at);
        let sent = published.saturating_sub(*counts.get(lane)?);
        let sent = f64::from(u32::try_from(sent).unwrap_or(u32::MAX));
        (over >= SHORTEST).then(|| (sent / over.as_secs_f64(), over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_minute_and_of_less_at_the_start() {
        let (begin, mut rates) = (Instant::now(), SendRates::default());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        rates.add(begin, &[0, 7]);
        assert_eq!(rates.of(0, 5, begin), None);
        assert_eq!(rates.of(2, 5, at(9)), None, "there is no such lane");
        // Two a second for five minutes, then none.
        for second in 1..=300 {
            rates.add(at(second), &[second * 2, 7]);
            let (rate, over) = rates.of(0, second * 2, at(second)).unwrap();
            assert!((rate - 2.0).abs() < 0.01, "{rate} at {second}");
            assert!(rates.of(1, 7, at(second)).unwrap().0.abs() < 0.01);
            assert!(over < PERIOD + STEP, "{over:?}");
        }
        assert!(rates.counts.len() <= 14, "{}", rates.counts.len());
        for second in 301..=370 {
            rates.add(at(second), &[600, 7]);
        }
        assert!(rates.of(0, 600, at(370)).unwrap().0.abs() < 0.01);
    }
}
