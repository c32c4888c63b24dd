//! Which refused messages are kept: all of them, as long as their kind does not flood. It also counts, exactly.
//!
//! It writes nothing; the rows and the counts ride in the batch's own transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::RefusalCount;
use super::time::Timestamp;
use super::verdict::Reason;

/// So many tenants are told apart within a minute; the rest share one line and one budget.
const MAX_TENANTS_PER_MINUTE: usize = 1_000;

/// The tenant under which messages are counted whose topic names none, and those of too many tenants.
pub const NO_TENANT: &str = "";

/// The one budget of the spine: what the judge refuses and what only the database refuses both draw on it.
#[derive(Clone, Debug)]
pub struct SharedSampler(Arc<Mutex<Sampler>>);

/// Decides which refused messages are kept, and counts all.
#[derive(Debug)]
pub struct Sampler {
    max_per_minute: u64,
    minute: Timestamp,
    tenants: HashMap<Box<str>, [Tally; Reason::ALL.len()]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Seen within this minute.
    seen: u64,
    /// Not yet handed over by [`Sampler::take_counts`].
    uncounted: i64,
}

// === impl SharedSampler ===

impl SharedSampler {
    /// A sampler that keeps this many events of one tenant and reason each minute.
    pub fn new(max_per_minute: u64) -> Self {
        Self(Arc::new(Mutex::new(Sampler::new(max_per_minute))))
    }

    /// To be held for a batch, not for a message, and across no wait.
    pub fn lock(&self) -> MutexGuard<'_, Sampler> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SharedSampler {
    /// Keeps everything.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that keeps this many events of one tenant and reason each minute.
    pub fn new(max_per_minute: u64) -> Self {
        Self { max_per_minute, minute: Timestamp::default(), tenants: HashMap::new() }
    }

    /// Starts the minute of this moment; the counts of the one before must have been taken.
    pub fn turn(&mut self, now: Timestamp) {
        let minute = now.minute();
        if minute != self.minute {
            self.minute = minute;
            self.tenants.clear();
        }
    }

    /// Counts a refused message; true when it is to be kept.
    pub fn admit(&mut self, tenant: Option<&str>, reason: Reason) -> bool {
        let max = self.max_per_minute;
        let tally = self.tally(tenant, reason);
        tally.uncounted += 1;
        tally.is_kept(max)
    }

    /// True when a message is to be kept that is counted elsewhere.
    pub fn admit_counted(&mut self, tenant: Option<&str>, reason: Reason) -> bool {
        let max = self.max_per_minute;
        self.tally(tenant, reason).is_kept(max)
    }

    fn tally(&mut self, tenant: Option<&str>, reason: Reason) -> &mut Tally {
        let tenant = tenant.unwrap_or(NO_TENANT);
        let is_told_apart = self.tenants.contains_key(tenant) || self.tenants.len() < MAX_TENANTS_PER_MINUTE;
        let tenant = if is_told_apart { tenant } else { NO_TENANT };
        &mut self.tenants.entry(tenant.into()).or_default()[reason.index()]
    }

    /// What was counted since the last call, sorted.
    pub fn take_counts(&mut self) -> Vec<RefusalCount> {
        let minute = self.minute;
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

// === impl Tally ===

impl Tally {
    /// Sees one more. Past the budget only the 1st, 2nd, 4th, 8th, ... are kept, so that a flood leaves a trace and no more.
    fn is_kept(&mut self, max: u64) -> bool {
        self.seen += 1;
        self.seen <= max || (self.seen - max).is_power_of_two()
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
    fn what_is_counted_elsewhere_draws_on_the_same_budget() {
        let mut sampler = Sampler::new(10);
        sampler.turn(Timestamp::from_micros(0));
        assert_eq!((0..10).filter(|_| sampler.admit(Some("loud"), Reason::StoreRejected)).count(), 10);
        let kept = (0..1_000).filter(|_| sampler.admit_counted(Some("loud"), Reason::StoreRejected)).count();
        assert_eq!(kept, 10, "the powers of two up to 512");
        assert_eq!(sampler.take_counts()[0].count, 10);
    }

    #[test]
    fn a_new_minute_is_a_new_budget() {
        let mut sampler = Sampler::new(1);
        sampler.turn(Timestamp::from_micros(0));
        assert!(sampler.admit(None, Reason::BadTopicFormat));
        sampler.take_counts();
        sampler.turn(Timestamp::default().plus_seconds(60));
        assert!(sampler.admit(None, Reason::BadTopicFormat));
        assert_eq!(sampler.take_counts()[0].minute, Timestamp::default().plus_seconds(60));
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
