//! A rate with a burst, and the allowance that one device or address has of it (a token bucket).
//!
//! It reads no clock and keeps no table: the caller passes the time and stores the allowances.

use super::time::Timestamp;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// In the long run, in units per second.
    pub per_second: f64,
    /// At once, after a pause.
    pub burst: f64,
}

/// What the rounding of sums of fractions may take from a unit: one that misses less is whole.
const ROUNDING: f64 = 1e-9;

/// What one device or address may still spend.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    units: f64,
    refilled_at: Timestamp,
}

// === impl Allowance ===

impl Allowance {
    /// A full allowance at this time.
    pub const fn full(limit: RateLimit, now: Timestamp) -> Self {
        Self { units: limit.burst, refilled_at: now }
    }

    /// Adds what was earned since the last call, up to the burst. Returns the units beyond it. A
    /// clock that was set back earns nothing and takes nothing.
    pub fn refill(&mut self, limit: RateLimit, now: Timestamp) -> f64 {
        let units = self.units + self.earned(limit, now);
        self.units = units.min(limit.burst);
        self.refilled_at = now;
        units - self.units
    }

    /// Spends one unit of what the last [`Self::refill`] left; false means that there is none.
    pub fn try_spend(&mut self) -> bool {
        try_spend_one(&mut self.units)
    }

    /// Returns one unit, up to the burst.
    pub fn give_back(&mut self, limit: RateLimit) {
        self.units = (self.units + 1.0).min(limit.burst);
    }

    /// Whether it is full at this time.
    pub fn is_full(&self, limit: RateLimit, now: Timestamp) -> bool {
        self.units + self.earned(limit, now) >= limit.burst
    }

    /// Whole seconds from the last [`Self::refill`] until one unit can be spent; 0 if it can be now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is at least 0, and a wait beyond u64 saturates"
    )]
    pub fn whole_seconds_to_next(&self, limit: RateLimit) -> u64 {
        ((1.0 - ROUNDING - self.units).max(0.0) / limit.per_second).ceil() as u64
    }

    fn earned(&self, limit: RateLimit, now: Timestamp) -> f64 {
        now.seconds_since(self.refilled_at).max(0.0) * limit.per_second
    }
}

/// Spends one unit of `units`; false means that there is none.
pub fn try_spend_one(units: &mut f64) -> bool {
    let is_enough = *units >= 1.0 - ROUNDING;
    if is_enough {
        *units -= 1.0;
    }
    is_enough
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { per_second: 2.0, burst: 3.0 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000_000 + millis * 1_000)
    }

    fn spent_at(allowance: &mut Allowance, now: Timestamp) -> usize {
        (0..100)
            .filter(|_| {
                allowance.refill(LIMIT, now);
                allowance.try_spend()
            })
            .count()
    }

    #[test]
    fn the_burst_can_be_spent_at_once_and_then_the_rate() {
        let mut allowance = Allowance::full(LIMIT, at(0));
        assert!(allowance.is_full(LIMIT, at(0)));
        assert_eq!(spent_at(&mut allowance, at(0)), 3);
        assert_eq!(spent_at(&mut allowance, at(499)), 0);
        assert_eq!(spent_at(&mut allowance, at(500)), 1);
        assert_eq!(spent_at(&mut allowance, at(1_500)), 2);
        assert!(!allowance.is_full(LIMIT, at(2_999)));
        assert!(allowance.is_full(LIMIT, at(3_000)));
        assert_eq!(spent_at(&mut allowance, at(1_000_000)), 3, "no more than the burst");
    }

    #[test]
    fn a_refill_returns_what_is_beyond_the_burst() {
        let mut allowance = Allowance::full(LIMIT, at(0));
        assert!(allowance.try_spend());
        let beyond = allowance.refill(LIMIT, at(10_000));
        assert!((beyond - 19.0).abs() < 1e-9, "{beyond}: 20 earned, 1 of them refilled it");
        assert!(allowance.refill(LIMIT, at(10_000)).abs() < 1e-9);
    }

    #[test]
    fn the_wait_for_the_next_unit_is_rounded_up_to_whole_seconds() {
        let slow = RateLimit { per_second: 0.1, burst: 1.0 };
        let mut allowance = Allowance::full(slow, at(0));
        assert_eq!(allowance.whole_seconds_to_next(slow), 0);
        assert!(allowance.try_spend());
        for (second, wait) in [(0, 10), (1, 9), (3, 7), (7, 3), (9, 1)] {
            allowance.refill(slow, at(second * 1_000));
            assert_eq!(allowance.whole_seconds_to_next(slow), wait, "after {second} s");
            assert!(!allowance.try_spend());
        }
        allowance.refill(slow, at(9_500));
        assert_eq!(allowance.whole_seconds_to_next(slow), 1);
        allowance.refill(slow, at(10_000));
        assert!(allowance.try_spend(), "six parts of a second add up to one unit");
    }

    #[test]
    fn a_clock_that_was_set_back_earns_nothing_and_takes_nothing() {
        let mut allowance = Allowance::full(LIMIT, at(100_000));
        assert!(allowance.try_spend());
        assert_eq!(spent_at(&mut allowance, at(0)), 2);
        assert_eq!(spent_at(&mut allowance, at(500)), 1);
    }
}
