//! Wait before the next connection: it doubles, with full jitter.
//!
//! It knows no errors and does not sleep itself.

use std::time::Duration;

/// Ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(250);

/// Ceiling of every wait.
const LONGEST: Duration = Duration::from_secs(30);

/// A connection that lasted this long resets the wait.
const STABLE: Duration = Duration::from_mins(1);

/// Counts consecutive failures.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// Wait after a connection that lasted `held`: full jitter below a doubling ceiling.
    pub fn next(&mut self, held: Duration) -> Duration {
        if held >= STABLE {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Without system randomness the wait is the ceiling.
        let share = getrandom::u32().unwrap_or(u32::MAX);
        ceiling.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_stays_below_a_ceiling_that_doubles_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        for ceiling in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(backoff.next(Duration::ZERO) <= Duration::from_millis(ceiling));
        }
        assert!(backoff.next(STABLE) <= FIRST);
    }
}
