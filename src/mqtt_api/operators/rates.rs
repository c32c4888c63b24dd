//! The rate of each caller: one that floods delays only itself.
//!
//! All callers that the settings do not name share one allowance, and so do all clients on the
//! shared topic: the table cannot grow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::caller::{CallerShare, TopicCaller};
use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::time::Timestamp;

/// What one caller may send. A request beyond it gets status 429.
const CALLER_RATE: RateLimit = RateLimit { per_second: 500.0, burst: 1000.0 };

/// The allowances of all callers.
#[derive(Debug, Default)]
pub(super) struct CallerRates {
    allowances: Mutex<HashMap<CallerShare, Allowance>>,
}

// === impl CallerRates ===

impl CallerRates {
    /// Spends one request of a caller; false means that there is none left.
    pub(super) fn try_spend(&self, caller: TopicCaller<'_>, now: Timestamp) -> bool {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        let allowance =
            allowances.entry(caller.share()).or_insert_with(|| Allowance::full(CALLER_RATE, now));
        allowance.refill(CALLER_RATE, now);
        allowance.try_spend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_floods_spends_only_its_own() {
        let (rates, now) = (CallerRates::default(), Timestamp::from_micros(1_000_000));
        let spent = |caller| (0..5000).filter(|_| rates.try_spend(caller, now)).count();
        assert_eq!(spent(TopicCaller::Stranger("a")), 1000);
        assert_eq!(spent(TopicCaller::Stranger("b")), 0, "strangers share one allowance");
        assert_eq!(spent(TopicCaller::Shared), 1000);
        let half_a_second = Timestamp::from_micros(1_500_000);
        assert!((0..250).all(|_| rates.try_spend(TopicCaller::Shared, half_a_second)));
        assert!(!rates.try_spend(TopicCaller::Shared, half_a_second));
    }
}
