//! Which refused messages are kept, and how much of each: all of them, unless there is a flood. It
//! counts them exactly.
//!
//! It writes nothing; rows and counts are stored by the batch's own transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::refusal::Reason;
use super::time::Timestamp;

/// Number of tenants with a count and a budget of their own in a minute; the others share one.
const MAX_TENANTS_PER_MINUTE: usize = 1_000;

/// Bytes of refused payloads kept for one tenant in a minute; beyond it, [`HEAD`] bytes of each.
/// Otherwise one device with large messages could fill the disk within the budget of messages.
const MAX_BYTES_PER_MINUTE: usize = 2 << 20;

/// Bytes kept of a payload whose tenant has used its budget.
pub const HEAD: usize = 1_024;

/// Most bytes kept of one refused payload.
pub const QUARANTINE_PAYLOAD_MAX: usize = 262_144;

/// Tenant name for the counts of messages without one, and of tenants beyond the limit.
pub const NO_TENANT: &str = "";

/// Sampler that the authorizer and the writer share.
#[derive(Clone, Debug)]
pub struct SharedSampler(Arc<Mutex<Sampler>>);

/// A count of refused messages of one minute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalCount {
    /// The minute, at its start.
    pub minute: Timestamp,
    /// The tenant, or [`NO_TENANT`].
    pub tenant: Box<str>,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: i64,
}

/// Decides which refused messages are kept, and counts all.
#[derive(Debug)]
pub struct Sampler {
    max_per_minute: u64,
    minute: Timestamp,
    tenants: HashMap<Box<str>, TenantShare>,
}

/// Use of one tenant's budget in the current minute.
#[derive(Debug)]
struct TenantShare {
    tallies: [ReasonTally; Reason::ALL.len()],
    bytes_left: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct ReasonTally {
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

    /// Locks the sampler for a whole batch, and across no await.
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

    /// Starts the minute of `now`; the counts of the one before must have been removed.
    pub fn start_minute(&mut self, now: Timestamp) {
        let minute = now.minute();
        if minute != self.minute {
            self.minute = minute;
            self.tenants.clear();
        }
    }

    /// Counts a refused message of `bytes`. Returns how many of them to keep; `None` keeps no row.
    pub fn admit(&mut self, tenant: Option<&str>, reason: Reason, bytes: usize) -> Option<usize> {
        let max = self.max_per_minute;
        let share = self.share(tenant);
        share.tallies[reason.index()].uncounted += 1;
        share.keep(max, reason, bytes)
    }

    /// Decides like [`Self::admit`] for a message that is counted elsewhere.
    pub fn admit_counted(
        &mut self,
        tenant: Option<&str>,
        reason: Reason,
        bytes: usize,
    ) -> Option<usize> {
        let max = self.max_per_minute;
        self.share(tenant).keep(max, reason, bytes)
    }

    fn share(&mut self, tenant: Option<&str>) -> &mut TenantShare {
        let tenant = tenant.unwrap_or(NO_TENANT);
        let is_distinct =
            self.tenants.contains_key(tenant) || self.tenants.len() < MAX_TENANTS_PER_MINUTE;
        let tenant = if is_distinct { tenant } else { NO_TENANT };
        self.tenants.entry(tenant.into()).or_default()
    }

    /// Returns the counts since the last call, sorted.
    pub fn take_counts(&mut self) -> Vec<RefusalCount> {
        let minute = self.minute;
        let mut counts = Vec::new();
        for (tenant, share) in &mut self.tenants {
            for (tally, reason) in share.tallies.iter_mut().zip(Reason::ALL) {
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

// === impl TenantShare ===

impl TenantShare {
    /// Counts one more. Beyond the budget it keeps only the 1st, 2nd, 4th, 8th, ... message: a
    /// trace of the flood.
    fn keep(&mut self, max: u64, reason: Reason, bytes: usize) -> Option<usize> {
        let tally = &mut self.tallies[reason.index()];
        tally.seen += 1;
        let is_kept = tally.seen <= max || (tally.seen - max).is_power_of_two();
        let whole = bytes.min(QUARANTINE_PAYLOAD_MAX);
        is_kept.then(|| {
            let kept = if whole <= self.bytes_left { whole } else { whole.min(HEAD) };
            self.bytes_left = self.bytes_left.saturating_sub(kept);
            kept
        })
    }
}

impl Default for TenantShare {
    fn default() -> Self {
        Self {
            tallies: [ReasonTally::default(); Reason::ALL.len()],
            bytes_left: MAX_BYTES_PER_MINUTE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_thinned_and_counted_exactly_and_others_keep_their_budget() {
        let mut sampler = Sampler::new(10);
        sampler.start_minute(Timestamp::from_micros(0));
        let kept = (0..10_000)
            .filter(|_| sampler.admit(Some("loud"), Reason::TokenInvalid, 10).is_some())
            .count();
        assert_eq!(kept, 10 + 14, "ten, and the powers of two up to 8192");
        assert!(sampler.admit(Some("loud"), Reason::BadPayload, 10).is_some());
        assert!(sampler.admit(Some("calm"), Reason::TokenInvalid, 10).is_some());
        let counts: Vec<(String, i64)> = sampler
            .take_counts()
            .into_iter()
            .map(|row| (format!("{} {}", row.tenant, row.reason), row.count))
            .collect();
        let expected =
            [("calm TOKEN_INVALID", 1), ("loud BAD_PAYLOAD", 1), ("loud TOKEN_INVALID", 10_000)];
        assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(sampler.take_counts(), []);
    }

    #[test]
    fn messages_counted_elsewhere_use_the_same_budget() {
        let mut sampler = Sampler::new(10);
        sampler.start_minute(Timestamp::from_micros(0));
        assert_eq!(
            (0..10)
                .filter(|_| sampler.admit(Some("loud"), Reason::StoreRejected, 10).is_some())
                .count(),
            10
        );
        let kept = (0..1_000)
            .filter(|_| sampler.admit_counted(Some("loud"), Reason::StoreRejected, 10).is_some())
            .count();
        assert_eq!(kept, 10, "the powers of two up to 512");
        assert_eq!(sampler.take_counts()[0].count, 10);
    }

    #[test]
    fn large_messages_are_cut_once_the_bytes_of_their_tenant_are_used_up() {
        let mut sampler = Sampler::new(1_000);
        sampler.start_minute(Timestamp::from_micros(0));
        let mut kept = |tenant, bytes| sampler.admit(Some(tenant), Reason::PayloadTooLarge, bytes);
        let large: Vec<_> = (0..10).map(|_| kept("loud", 1 << 20)).collect();
        assert_eq!(
            large,
            [[Some(QUARANTINE_PAYLOAD_MAX); 8].to_vec(), [Some(HEAD); 2].to_vec()].concat()
        );
        assert_eq!(
            (kept("loud", 100), kept("calm", 1 << 20)),
            (Some(100), Some(QUARANTINE_PAYLOAD_MAX))
        );
    }

    #[test]
    fn a_new_minute_is_a_new_budget() {
        let mut sampler = Sampler::new(1);
        sampler.start_minute(Timestamp::from_micros(0));
        assert!(sampler.admit(None, Reason::BadTopicFormat, 10).is_some());
        sampler.take_counts();
        sampler.start_minute(Timestamp::default().plus_seconds(60));
        assert!(sampler.admit(None, Reason::BadTopicFormat, 10).is_some());
        assert_eq!(sampler.take_counts()[0].minute, Timestamp::default().plus_seconds(60));
    }

    #[test]
    fn invented_tenants_share_one_counter_at_last() {
        let mut sampler = Sampler::new(1);
        sampler.start_minute(Timestamp::from_micros(0));
        for number in 0..MAX_TENANTS_PER_MINUTE * 3 {
            sampler.admit(Some(&number.to_string()), Reason::UnregisteredDevice, 10);
        }
        let counts = sampler.take_counts();
        assert_eq!(counts.len(), MAX_TENANTS_PER_MINUTE + 1);
        assert_eq!(counts.iter().map(|row| row.count).sum::<i64>(), 3_000);
    }
}
