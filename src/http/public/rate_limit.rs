//! Limits the credentials of an address: a burst, and then a rate per minute.
//!
//! The table of addresses is bounded: while it is full, new addresses share one allowance. It knows
//! no HTTP and reads no clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::time::Timestamp;

/// The most addresses in the table, about 60 bytes each; an address is forgotten when its allowance
/// is full again, a minute after its last credential.
const ADDRESSES_MAX: usize = 65_536;

/// How often a full table is searched for full allowances, in seconds; a search takes a
/// millisecond.
const SWEEP_SECONDS: f64 = 1.0;

/// The prefix of an IPv6 address that belongs to one customer.
const IPV6_CUSTOMER_BITS: u32 = 64;

const MINUTE_SECONDS: f64 = 60.0;

/// The rates of all addresses.
#[derive(Debug)]
pub(crate) struct AddressRates {
    limit: RateLimit,
    allowances: HashMap<IpAddr, Allowance>,
    /// Shared by all new addresses while the table is full.
    shared: Allowance,
    swept_at: Timestamp,
}

// === impl AddressRates ===

impl AddressRates {
    pub(crate) fn new(per_minute: u32) -> Self {
        let burst = f64::from(per_minute.max(1));
        let limit = RateLimit { per_second: burst / MINUTE_SECONDS, burst };
        let (shared, swept_at) =
            (Allowance::full(limit, Timestamp::default()), Timestamp::default());
        Self { limit, allowances: HashMap::new(), shared, swept_at }
    }

    /// Charges one credential to `address`, or returns the seconds to wait.
    pub(crate) fn charge(&mut self, address: IpAddr, now: Timestamp) -> Result<(), u64> {
        let key = customer(address);
        let limit = self.limit;
        if !self.allowances.contains_key(&key) && !self.has_room(now) {
            return charge_one(&mut self.shared, limit, now);
        }
        let full = || Allowance::full(limit, now);
        charge_one(self.allowances.entry(key).or_insert_with(full), limit, now)
    }

    /// Returns to `address` what the last charge took.
    pub(crate) fn refund(&mut self, address: IpAddr, now: Timestamp) {
        let limit = self.limit;
        if let Some(allowance) = self.allowances.get_mut(&customer(address)) {
            allowance.refill(limit, now);
            allowance.give_back(limit);
        }
    }

    /// Whether `address` has its whole burst: it was not charged lately.
    pub(crate) fn is_full(&self, address: IpAddr, now: Timestamp) -> bool {
        self.allowances
            .get(&customer(address))
            .is_none_or(|allowance| allowance.is_full(self.limit, now))
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        let since_sweep = now.seconds_since(self.swept_at);
        if self.allowances.len() >= ADDRESSES_MAX && !(0.0..SWEEP_SECONDS).contains(&since_sweep) {
            self.swept_at = now;
            self.allowances.retain(|_, allowance| !allowance.is_full(self.limit, now));
        }
        self.allowances.len() < ADDRESSES_MAX
    }
}

/// Charges one credential, or returns the seconds to wait.
fn charge_one(allowance: &mut Allowance, limit: RateLimit, now: Timestamp) -> Result<(), u64> {
    allowance.refill(limit, now);
    if allowance.try_spend() { Ok(()) } else { Err(allowance.whole_seconds_to_next(limit)) }
}

fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> IPV6_CUSTOMER_BITS << IPV6_CUSTOMER_BITS)
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(1_000_000 + seconds)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate_and_no_other_pays_for_it() {
        let mut rates = AddressRates::new(6);
        let (loud, calm) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!((0..20).filter(|_| rates.charge(loud, at(0)).is_ok()).count(), 6);
        assert_eq!(rates.charge(loud, at(0)), Err(10));
        assert!(rates.charge(calm, at(0)).is_ok());
        assert!(rates.charge(loud, at(10)).is_ok());
        assert!(rates.charge(loud, at(10)).is_err());
        assert_eq!((0..20).filter(|_| rates.charge(loud, at(3600)).is_ok()).count(), 6);
    }

    #[test]
    fn one_network_of_ipv6_is_one_customer_and_a_mapped_address_is_what_it_maps() {
        let mut rates = AddressRates::new(1);
        assert!(rates.charge(address("2001:db8::1"), at(0)).is_ok());
        assert!(rates.charge(address("2001:db8::ffff:2"), at(0)).is_err());
        assert!(rates.charge(address("2001:db8:0:1::1"), at(0)).is_ok());
        assert!(rates.charge(address("192.0.2.1"), at(0)).is_ok());
        assert!(rates.charge(address("::ffff:192.0.2.1"), at(0)).is_err());
    }

    #[test]
    fn a_full_table_grows_no_more_and_newcomers_share_one_rate_until_others_were_quiet() {
        let mut rates = AddressRates::new(2);
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            rates.charge(IpAddr::V4(number.into()), at(0)).unwrap();
        }
        let newcomers = [address("203.0.113.1"), address("203.0.113.2"), address("203.0.113.3")];
        let served =
            newcomers.iter().filter(|newcomer| rates.charge(**newcomer, at(0)).is_ok()).count();
        assert_eq!((served, rates.allowances.len()), (2, ADDRESSES_MAX));
        assert!(rates.charge(newcomers[2], at(61)).is_ok());
        assert_eq!(rates.allowances.len(), 1);
    }

    #[test]
    fn a_clock_set_back_shuts_nobody_out_for_long() {
        let mut rates = AddressRates::new(1);
        assert!(rates.charge(address("192.0.2.1"), at(100_000)).is_ok());
        assert_eq!(rates.charge(address("192.0.2.1"), at(0)), Err(60));
        assert!(rates.charge(address("192.0.2.1"), at(60)).is_ok());
    }
}
