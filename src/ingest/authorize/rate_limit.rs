//! The rate one device may send at, charged only once its identity is established, and by the time a message was sent.
//!
//! A device earns `RATE_LIMIT_RPS` messages a second by Sluice's own clock, up to `RATE_LIMIT_BURST`. What it earns beyond
//! that while nothing of it arrives is saved, for messages that waited on their way: those the broker held while the daemon or
//! Postgres was away, and those whose `ts` says so. So a backlog is charged as if it had come in time. `ts` opens the savings
//! and adds nothing to them: whatever a device writes there, it gets no more than its burst and its rate over the time that
//! has passed since it was last seen. Memory is bounded: of many devices only those that sent lately are remembered.

use std::collections::HashMap;

use crate::config::sections::ingest::RateLimit;
use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::time::Timestamp;

/// So many charges between two sweeps.
const SWEEP_EVERY: usize = 65_536;

/// Of more devices than this, those with a full bucket are forgotten at a sweep, and their savings with them.
const DEVICES_KEPT: usize = 100_000;

/// A message that took longer than this many seconds waited somewhere.
const WAITED_SECONDS: f64 = 2.0;

/// The longest absence that is saved for, in seconds: a week, as long as a broker keeps a session by default.
const SAVED_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// The buckets of all devices.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    buckets: HashMap<DeviceKey, Bucket>,
    charges: usize,
    absence: Option<Absence>,
}

/// A time in which nobody read, as was not known when these messages were read.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// Its beginning.
    pub since: Timestamp,
    /// Messages received until then waited since its beginning, perhaps.
    pub until: Timestamp,
}

/// When a message was on its way.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// Its own `ts`.
    pub sent: Option<Timestamp>,
    /// The broker did not have it before this moment, or may have had it from then on.
    pub held_since: Timestamp,
    /// When it was read from the socket.
    pub received_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// For use at any time.
    tokens: f64,
    /// For messages that waited.
    saved: f64,
    filled_at: Timestamp,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// No device has sent anything yet.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: HashMap::new(), charges: 0, absence: None }
    }

    /// Nobody read before this process did, and it read before it knew.
    pub fn was_absent(&mut self, absence: Absence) {
        self.absence = Some(absence);
    }

    /// Charges one message to a device; false when it has sent too much.
    pub fn charge(&mut self, device: &DeviceKey, passage: Passage) -> bool {
        self.charges += 1;
        if self.charges.is_multiple_of(SWEEP_EVERY) {
            self.sweep(passage.received_at);
        }
        let passage = match self.absence {
            Some(absence) if passage.received_at <= absence.until => {
                Passage { held_since: passage.held_since.min(absence.since), ..passage }
            }
            _ => passage,
        };
        let limit = self.limit;
        if !self.buckets.contains_key(device) {
            // Seen for the first time by this process: it may have been silent only for as long as nobody listened.
            let fresh = Bucket { tokens: limit.burst, saved: 0.0, filled_at: passage.held_since };
            self.buckets.insert(device.clone(), fresh);
        }
        self.buckets.get_mut(device).is_none_or(|bucket| bucket.pay(passage, limit))
    }

    fn sweep(&mut self, now: Timestamp) {
        let limit = self.limit;
        let is_idle = |bucket: &Bucket| bucket.tokens + bucket.earned(now, limit) >= limit.burst;
        if self.buckets.len() > DEVICES_KEPT {
            self.buckets.retain(|_, bucket| !is_idle(bucket));
        }
    }
}

// === impl Passage ===

impl Passage {
    /// Of a delivery whose `ts` says this.
    pub fn of(delivery: &Delivery, sent: Option<Timestamp>) -> Self {
        Self { sent, held_since: delivery.held_since, received_at: delivery.received_at }
    }

    /// The broker may have held it back.
    fn was_held(self) -> bool {
        self.received_at.seconds_since(self.held_since) > WAITED_SECONDS
    }

    fn has_waited(self) -> bool {
        self.was_held() || self.sent.is_some_and(|sent| self.received_at.seconds_since(sent) > WAITED_SECONDS)
    }
}

// === impl Bucket ===

impl Bucket {
    fn pay(&mut self, passage: Passage, limit: RateLimit) -> bool {
        let tokens = self.tokens + self.earned(passage.received_at, limit);
        self.tokens = tokens.min(limit.burst);
        let beyond = tokens - self.tokens;
        // While the broker holds messages back, what is not used now belongs to those that are still to come. Else only the
        // one longest absence counts: a device that is always there saves nothing.
        self.saved = if passage.was_held() { self.saved + beyond } else { self.saved.max(beyond) };
        self.saved = self.saved.min(limit.per_second * SAVED_SECONDS_MAX);
        self.filled_at = passage.received_at;
        let purse = if passage.has_waited() && self.saved >= 1.0 { &mut self.saved } else { &mut self.tokens };
        let pays = *purse >= 1.0;
        if pays {
            *purse -= 1.0;
        }
        pays
    }

    /// Earned since it was filled.
    fn earned(self, now: Timestamp, limit: RateLimit) -> f64 {
        now.seconds_since(self.filled_at).max(0.0) * limit.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

    fn device(name: &str) -> DeviceKey {
        DeviceKey::new("t", name).unwrap()
    }

    /// A message that arrives at this second, sent at this one, at a broker that held nothing back.
    fn at(second: i64, sent: Option<i64>) -> Passage {
        let received_at = START.plus_seconds(second);
        Passage { sent: sent.map(|sent| START.plus_seconds(sent)), held_since: received_at, received_at }
    }

    /// The same, from a broker that may have held messages back since this second.
    fn held(second: i64, since: i64) -> Passage {
        Passage { held_since: START.plus_seconds(since), ..at(second, None) }
    }

    fn limiter(per_second: f64, burst: f64) -> RateLimiter {
        RateLimiter::new(RateLimit { per_second, burst })
    }

    #[test]
    fn a_device_has_its_burst_and_then_its_rate_and_no_other_pays_for_it() {
        let mut limiter = limiter(2.0, 3.0);
        let (loud, calm) = (device("loud"), device("calm"));
        assert_eq!((0..10).filter(|_| limiter.charge(&loud, at(0, None))).count(), 3);
        assert!(limiter.charge(&calm, at(0, None)));
        assert_eq!((0..10).filter(|_| limiter.charge(&loud, at(1, None))).count(), 2);
        assert_eq!((0..100).filter(|_| limiter.charge(&loud, at(1_000, None))).count(), 3, "none of it waited");
    }

    #[test]
    fn a_backlog_of_a_device_that_keeps_to_the_rate_is_taken_whole_with_and_without_a_time() {
        for known in [true, false] {
            let mut limiter = limiter(2.0, 3.0);
            if known {
                assert!(limiter.charge(&device("d"), at(0, None)));
            }
            // Nobody listened for 40 s; what came meanwhile is read within a second, and one second's worth with it.
            let refused = (0..82).filter(|number| {
                let second = 40 + number / 80;
                !limiter.charge(&device("d"), held(second, 0))
            });
            assert_eq!(refused.count(), 0, "known before: {known}");
        }
        let mut limiter = limiter(2.0, 3.0);
        assert!(limiter.charge(&device("d"), at(0, None)));
        assert_eq!((1..=40).filter(|sent| !limiter.charge(&device("d"), at(41, Some(*sent)))).count(), 0, "its own");
    }

    #[test]
    fn a_backlog_beyond_the_rate_is_refused_beyond_it() {
        let mut limiter = limiter(2.0, 3.0);
        assert!(limiter.charge(&device("d"), at(0, None)));
        let taken = (0..1_000).filter(|_| limiter.charge(&device("d"), held(40, 0))).count();
        assert_eq!(taken, 82, "40 s at the rate, and what was left of the burst");
    }

    #[test]
    fn what_trickled_through_while_the_broker_held_the_rest_is_no_loss() {
        let mut limiter = limiter(2.0, 3.0);
        // For 100 s one message in two seconds gets through, then all the others at once.
        let trickled = (0..50).filter(|step| limiter.charge(&device("d"), held(step * 2, 0))).count();
        let flood = (0..200).filter(|_| limiter.charge(&device("d"), held(100, 0))).count();
        assert_eq!(trickled + flood, 203);
    }

    #[test]
    fn no_ts_buys_more_than_the_time_since_the_device_was_seen() {
        let mut limiter = limiter(2.0, 3.0);
        let device = device("d");
        let old = |second: i64| at(second, Some(second - 86_400));
        assert_eq!((0..1_000).filter(|_| limiter.charge(&device, old(0))).count(), 3, "never seen before");
        // Always there, and always with an old time: nothing is saved up.
        let steady = (1..=3_600).filter(|second| limiter.charge(&device, old(*second))).count();
        assert_eq!(steady, 3_600);
        let flood = (0..10_000).filter(|_| limiter.charge(&device, old(3_600))).count();
        assert!(flood <= 6, "{flood}");
        assert_eq!((0..10_000).filter(|_| limiter.charge(&device, old(3_610))).count(), 20, "ten seconds away");
    }

    #[test]
    fn of_too_many_devices_those_with_a_full_bucket_are_forgotten() {
        let mut limiter = limiter(1000.0, 1.0);
        for number in 0..SWEEP_EVERY * 2 {
            let received_at = Timestamp::from_micros(i64::try_from(number).unwrap() * 1_000);
            limiter.charge(&device(&number.to_string()), Passage { sent: None, held_since: received_at, received_at });
        }
        assert!(limiter.buckets.len() < 10, "{}", limiter.buckets.len());
    }
}
