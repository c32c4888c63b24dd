//! Limits the tries of an address to sign in, and the audit entries of refused ones.
//!
//! It reads no clock; the table of addresses is bounded.

use std::net::IpAddr;

use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::time::Timestamp;
use crate::http::public::rate_limit::AddressRates;

/// How often an address may try in a minute, at each replica. A login that succeeds counts nothing.
const TRIES_PER_MINUTE: u32 = 5;

/// Audit entries of refused logins: many addresses must not fill the table.
const AUDITED: RateLimit = RateLimit { per_second: 0.5, burst: 30.0 };

/// The tries of all addresses.
#[derive(Debug)]
pub(super) struct LoginAttempts {
    rates: AddressRates,
    audits: Option<Allowance>,
}

// === impl LoginAttempts ===

impl LoginAttempts {
    pub(super) fn new() -> Self {
        Self { rates: AddressRates::new(TRIES_PER_MINUTE), audits: None }
    }

    /// Charges one try, or returns the seconds to wait.
    pub(super) fn charge(&mut self, client: IpAddr, now: Timestamp) -> Result<(), u64> {
        self.rates.charge(client, now)
    }

    /// Returns the try of a login that succeeded.
    pub(super) fn refund(&mut self, client: IpAddr, now: Timestamp) {
        self.rates.refund(client, now);
    }

    /// Whether a refused login gets an audit entry.
    pub(super) fn may_audit(&mut self, now: Timestamp) -> bool {
        let audits = self.audits.get_or_insert_with(|| Allowance::full(AUDITED, now));
        audits.refill(AUDITED, now);
        audits.try_spend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_try_of_a_minute_waits_and_the_audit_is_bounded() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut attempts = LoginAttempts::new();
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..5 {
            attempts.charge(client, now).unwrap();
        }
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        assert!((1..=12).contains(&attempts.charge(neighbour, now).unwrap_err()));
        attempts.charge("2001:db8:0:1::1".parse().unwrap(), now).unwrap();
        attempts.refund(client, now);
        attempts.charge(client, now).unwrap();
        assert_eq!((0..100).filter(|_| attempts.may_audit(now)).count(), 30);
        assert!(attempts.may_audit(now.plus_seconds(2)));
    }
}
