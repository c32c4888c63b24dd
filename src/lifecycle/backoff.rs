//! The pause before the next attempt: it doubles, and is drawn between its half and its whole.
//!
//! The draw keeps replicas from retrying at the same time. The lower bound keeps a failure that
//! returns at once from becoming a busy loop. It knows no errors and does not sleep itself.

use std::time::Duration;

/// A source of random numbers; tests inject one that is not random.
pub type RandomSource = fn() -> u32;

/// The pauses of one component.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: RandomSource,
}

// === impl Backoff ===

impl Backoff {
    /// Pauses that double from `first` to `longest`; each is between its half and its whole.
    pub fn new(first: Duration, longest: Duration) -> Self {
        // Without system randomness the pause is the whole: later, and still correct.
        Self::with_random(first, longest, || getrandom::u32().unwrap_or(u32::MAX))
    }

    /// The same, with an own source of random numbers.
    pub const fn with_random(first: Duration, longest: Duration, random: RandomSource) -> Self {
        Self { first, longest, failures: 0, random }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        let half = doubled.min(self.longest) / 2;
        self.failures = self.failures.saturating_add(1);
        half + half.mul_f64(f64::from((self.random)()) / f64::from(u32::MAX))
    }

    /// The next pause is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(1);
    const WHOLE: [u64; 6] = [100, 200, 400, 800, 1_000, 1_000];

    fn pauses(random: RandomSource) -> Vec<Duration> {
        let mut backoff = Backoff::with_random(FIRST, LONGEST, random);
        WHOLE.iter().map(|_| backoff.next_pause()).collect()
    }

    #[test]
    fn the_pause_doubles_up_to_the_longest_and_is_never_below_its_half() {
        let millis = |share: u64| WHOLE.map(|whole| Duration::from_millis(whole / share)).to_vec();
        assert_eq!(pauses(|| u32::MAX), millis(1));
        assert_eq!(pauses(|| 0), millis(2));
    }

    #[test]
    fn a_reset_begins_with_the_first_pause_and_failures_do_not_overflow() {
        let mut backoff = Backoff::with_random(FIRST, LONGEST, || u32::MAX);
        for failures in 0..1_000 {
            assert_eq!(backoff.failures(), failures);
            assert!(backoff.next_pause() <= LONGEST);
        }
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.next_pause()), (0, FIRST));
    }

    #[test]
    fn the_randomness_of_the_system_spreads_the_pauses_evenly() {
        const DRAWS: u32 = 1_000;
        let mut all = Vec::new();
        for _ in 0..DRAWS {
            all.push(Backoff::new(LONGEST, LONGEST).next_pause());
        }
        assert!(all.iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)));
        // 750 ms, with a standard deviation of 144 ms / sqrt(1000) = 4.6 ms.
        let mean = all.iter().sum::<Duration>() / DRAWS;
        let expected = LONGEST * 3 / 4;
        assert!(mean.abs_diff(expected) < Duration::from_millis(40), "{mean:?}");
        let (early, late) = (Duration::from_millis(550), Duration::from_millis(950));
        assert!(all.iter().any(|pause| *pause < early) && all.iter().any(|pause| *pause > late));
    }
}
