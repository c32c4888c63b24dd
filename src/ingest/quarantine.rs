//! Where refused messages go: each is counted exactly, and kept as long as its kind does not flood.
//!
//! It writes nothing; the rows ride in the batch's own transaction.

use std::collections::HashMap;

use crate::domain::batch::RefusalCount;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Reason;

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// So many tenants are told apart within a minute; the rest share one line and one budget.
const MAX_TENANTS_PER_MINUTE: usize = 1_000;

/// The tenant under which messages are counted whose topic names none, and those of too many tenants.
pub const NO_TENANT: &str = "";

/// Decides which refused messages are kept, and counts all.
#[derive(Debug)]
pub struct Sampler {
    max_per_minute: u64,
    minute: i64,
    tenants: HashMap<Box<str>, [Tally; Reason::ALL.len()]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Seen within this minute.
    seen: u64,
    /// Not yet handed over by [`Sampler::take_counts`].
    uncounted: i64,
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that keeps this many events of one tenant and reason each minute.
    pub fn new(max_per_minute: u64) -> Self {
        Self { max_per_minute, minute: 0, tenants: HashMap::new() }
    }

    /// Starts the minute of this moment; the counts of the one before must have been taken.
    pub fn turn(&mut self, now: Timestamp) {
        let minute = now.micros().div_euclid(MINUTE);
        if minute != self.minute {
            self.minute = minute;
            self.tenants.clear();
        }
    }

    /// Counts a refused message; true when it is to be kept. Past the budget only the 1st, 2nd, 4th, 8th, ... are, so that
    /// a flood leaves a trace and no more.
    pub fn admit(&mut self, tenant: Option<&str>, reason: Reason) -> bool {
        let tenant = tenant.unwrap_or(NO_TENANT);
        let known = self.tenants.contains_key(tenant);
        let tenant = if known || self.tenants.len() < MAX_TENANTS_PER_MINUTE { tenant } else { NO_TENANT };
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.into(), [Tally::default(); Reason::ALL.len()]);
        }
        let Some(tally) = self.tenants.get_mut(tenant).map(|tallies| &mut tallies[reason.index()]) else {
            return true;
        };
        tally.seen += 1;
        tally.uncounted += 1;
        tally.seen <= self.max_per_minute || (tally.seen - self.max_per_minute).is_power_of_two()
    }

    /// What was counted since the last call, sorted.
    pub fn take_counts(&mut self) -> Vec<RefusalCount> {
        let minute = Timestamp::from_micros(self.minute * MINUTE);
        let mut counts = Vec::new();
        for (tenant, tallies) in &mut self.tenants {
            for (tally, reason) in tallies.iter_mut().zip(Reason::ALL) {
                let count = std::mem::take(&mut tally.uncounted);
                if count > 0 {
                    counts.push(RefusalCount { minute, tenant: tenant.clone(), reason, count });
                }
            }
        }
        counts.sort();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_thinned_and_counted_exactly_and_others_keep_their_budget() {
        let mut sampler = Sampler::new(10);
        sampler.turn(Timestamp::from_micros(0));
        let kept = (0..10_000).filter(|_| sampler.admit(Some("loud"), Reason::TokenInvalid)).count();
        assert_eq!(kept, 10 + 14, "ten, and the powers of two up to 8192");
        assert!(sampler.admit(Some("loud"), Reason::BadPayload));
        assert!(sampler.admit(Some("calm"), Reason::TokenInvalid));
        let counts: Vec<(String, i64)> = sampler
            .take_counts()
            .into_iter()
            .map(|row| (format!("{} {}", row.tenant, row.reason), row.count))
            .collect();
        let expected = [("calm TOKEN_INVALID", 1), ("loud BAD_PAYLOAD", 1), ("loud TOKEN_INVALID", 10_000)];
        assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(sampler.take_counts(), []);
    }

    #[test]
    fn a_new_minute_is_a_new_budget() {
        let mut sampler = Sampler::new(1);
        sampler.turn(Timestamp::from_micros(0));
        assert!(sampler.admit(None, Reason::BadTopicFormat));
        sampler.take_counts();
        sampler.turn(Timestamp::from_micros(MINUTE));
        assert!(sampler.admit(None, Reason::BadTopicFormat));
        assert_eq!(sampler.take_counts()[0].minute, Timestamp::from_micros(MINUTE));
    }

    #[test]
    fn made_up_tenants_share_one_line_in_the_end() {
        let mut sampler = Sampler::new(1);
        sampler.turn(Timestamp::from_micros(0));
        for number in 0..MAX_TENANTS_PER_MINUTE * 3 {
            sampler.admit(Some(&number.to_string()), Reason::UnregisteredDevice);
        }
        let counts = sampler.take_counts();
        assert_eq!(counts.len(), MAX_TENANTS_PER_MINUTE + 1);
        assert_eq!(counts.iter().map(|row| row.count).sum::<i64>(), 3_000);
    }
}
