//! Bounds the attempts to guess an enrolment code: of one address, and of all together.
//!
//! An attempt is charged before it is judged, and returned unless the code was wrong: attempts that
//! run at the same time do not get past the bound. The caller charges when it is the attempt's turn,
//! so right codes that wait are not charged. While the attempts of all are spent, only addresses without
//! a recent failure are served, so that an attacker does not lock out a fleet. It knows no HTTP.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::time::{Clock, Timestamp};
use crate::http::public::rate_limit::AddressRates;

/// Wrong codes of one address per minute, and at once.
const WRONG_PER_ADDRESS: u32 = 30;

/// Wrong codes of all addresses: five per second in the long run.
const WRONG_IN_ALL: RateLimit = RateLimit { per_second: 5.0, burst: 300.0 };

/// Attempts of all addresses.
#[derive(Debug)]
pub(super) struct Attempts(Mutex<AttemptRates>);

/// A charged attempt. It is returned when it is dropped, also by a client that disconnects.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
    clock: Clock,
    was_wrong: bool,
}

#[derive(Debug)]
struct AttemptRates {
    per_address: AddressRates,
    in_all: Allowance,
}

// === impl Attempts ===

impl Attempts {
    pub(super) fn new(now: Timestamp) -> Self {
        let per_address = AddressRates::new(WRONG_PER_ADDRESS);
        Self(Mutex::new(AttemptRates { per_address, in_all: Allowance::full(WRONG_IN_ALL, now) }))
    }

    /// Charges one attempt to `address` until it ends, or returns the seconds to wait.
    pub(super) fn begin(&self, address: IpAddr, clock: Clock) -> Result<Attempt<'_>, u64> {
        self.charge(address, clock())?;
        Ok(Attempt { attempts: self, address, clock, was_wrong: false })
    }

    fn charge(&self, address: IpAddr, now: Timestamp) -> Result<(), u64> {
        let mut rates = self.lock();
        let is_new = rates.per_address.is_full(address, now);
        // First: an address beyond its own bound takes nothing from the others.
        rates.per_address.charge(address, now)?;
        rates.in_all.refill(WRONG_IN_ALL, now);
        if !rates.in_all.try_spend() && !is_new {
            rates.per_address.refund(address, now);
            return Err(rates.in_all.whole_seconds_to_next(WRONG_IN_ALL).max(1));
        }
        Ok(())
    }

    /// Returns what the attempt of `address` took: it was a right one, or no code was compared.
    fn refund(&self, address: IpAddr, now: Timestamp) {
        let mut rates = self.lock();
        rates.in_all.refill(WRONG_IN_ALL, now);
        rates.in_all.give_back(WRONG_IN_ALL);
        rates.per_address.refund(address, now);
    }

    fn lock(&self) -> MutexGuard<'_, AttemptRates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// The code was wrong: the attempt stays charged.
    pub(super) fn keep(mut self) {
        self.was_wrong = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.was_wrong {
            self.attempts.refund(self.address, (self.clock)());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(1_000_000 + seconds)
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_has_its_attempts_and_a_right_one_costs_nothing() {
        let attempts = Attempts::new(at(0));
        for _ in 0..1000 {
            attempts.charge(address(1), at(0)).unwrap();
            attempts.refund(address(1), at(0));
        }
        let allowed = (0..1000).filter(|_| attempts.charge(address(1), at(0)).is_ok()).count();
        assert_eq!(allowed, WRONG_PER_ADDRESS as usize);
        assert_eq!(attempts.charge(address(1), at(0)), Err(2));
        assert!(attempts.charge(address(2), at(0)).is_ok());
        assert!(attempts.charge(address(1), at(2)).is_ok());
    }

    #[test]
    fn an_attempt_is_returned_when_it_ends_unless_it_was_wrong() {
        let attempts = Attempts::new(at(0));
        let begin = || attempts.begin(address(1), || at(0));
        for _ in 0..1000 {
            drop(begin().unwrap());
        }
        for _ in 0..WRONG_PER_ADDRESS {
            begin().unwrap().keep();
        }
        assert_eq!(begin().unwrap_err(), 2);
    }

    #[test]
    fn many_addresses_share_a_bound_that_locks_out_none_without_a_failure() {
        let attempts = Attempts::new(at(0));
        let mut allowed = 0;
        for _ in 0..WRONG_PER_ADDRESS {
            for number in 0..100 {
                allowed += usize::from(attempts.charge(address(number), at(0)).is_ok());
            }
        }
        assert_eq!(allowed, 300);
        assert!(attempts.charge(address(7), at(0)).is_err());
        assert!(attempts.charge(address(1_000), at(0)).is_ok());
        assert!(attempts.charge(address(1_000), at(0)).is_err(), "its one attempt is spent");
    }
}
