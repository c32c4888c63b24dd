//! The rate limit of each device, charged after authentication, by the time a message was sent.
//!
//! By Sluice's own clock, a device earns `RATE_LIMIT_RPS` messages a second, up to
//! `RATE_LIMIT_BURST`. Earnings beyond that are saved while none of its messages arrives, for
//! messages that were delayed: held by the broker while the daemon or Postgres was away, or with an
//! old `ts`. So a backlog is charged as if it had arrived in time. `ts` gives access to the savings
//! and adds nothing: whatever a device writes there, it gets no more than its burst and its rate
//! since it was last seen. Memory is bounded: only devices that sent lately are kept.

use std::collections::HashMap;

use crate::domain::ids::DeviceKey;
use crate::domain::message::Delivery;
use crate::domain::rate_limit::{Allowance, RateLimit, try_spend_one};
use crate::domain::time::Timestamp;

/// Number of charges between two sweeps.
const SWEEP_EVERY: usize = 65_536;

/// Above this number of devices, a sweep drops those with a full bucket, and their savings.
const DEVICES_KEPT: usize = 100_000;

/// A message that took longer than this many seconds was delayed.
const WAITED_SECONDS: f64 = 2.0;

/// Longest absence with savings, in seconds: a week, the default expiry of a broker session.
const SAVED_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// The buckets of all devices.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    buckets: HashMap<DeviceKey, Bucket>,
    charges: usize,
    absence: Option<Absence>,
}

/// A time in which no daemon read messages, which became known only after some had been read.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    /// Its start.
    pub since: Timestamp,
    /// Messages received until then may have waited since its start.
    pub until: Timestamp,
}

/// Times of one message in transit.
#[derive(Clone, Copy, Debug)]
pub struct TransitTimes {
    /// Its own `ts`.
    pub sent: Option<Timestamp>,
    /// Earliest time at which the broker may have held it.
    pub held_since: Timestamp,
    /// When it was read from the socket.
    pub received_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// For every message.
    allowance: Allowance,
    /// The savings in messages; only a delayed message uses them.
    saved: f64,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// A limiter without devices.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: HashMap::new(), charges: 0, absence: None }
    }

    /// Records an absence that became known after messages had been read.
    pub fn record_absence(&mut self, absence: Absence) {
        self.absence = Some(absence);
    }

    /// Charges one message to a device; false means refused.
    pub fn charge(&mut self, device: &DeviceKey, transit: TransitTimes) -> bool {
        self.charges += 1;
        if self.charges.is_multiple_of(SWEEP_EVERY) {
            self.sweep(transit.received_at);
        }
        let transit = match self.absence {
            Some(absence) if transit.received_at <= absence.until => {
                TransitTimes { held_since: transit.held_since.min(absence.since), ..transit }
            }
            _ => transit,
        };
        let limit = self.limit;
        if !self.buckets.contains_key(device) {
            // First message in this process: the device may have been silent only while no daemon
            // read.
            let allowance = Allowance::full(limit, transit.held_since);
            self.buckets.insert(device.clone(), Bucket { allowance, saved: 0.0 });
        }
        self.buckets.get_mut(device).is_none_or(|bucket| bucket.try_spend(transit, limit))
    }

    fn sweep(&mut self, now: Timestamp) {
        let limit = self.limit;
        if self.buckets.len() > DEVICES_KEPT {
            self.buckets.retain(|_, bucket| !bucket.allowance.is_full(limit, now));
        }
    }
}

// === impl TransitTimes ===

impl TransitTimes {
    /// Times of `delivery`, whose `ts` is `sent`.
    pub fn of(delivery: &Delivery, sent: Option<Timestamp>) -> Self {
        Self { sent, held_since: delivery.held_since, received_at: delivery.received_at }
    }

    /// Whether the broker may have held it.
    fn was_held(self) -> bool {
        self.received_at.seconds_since(self.held_since) > WAITED_SECONDS
    }

    fn has_waited(self) -> bool {
        self.was_held()
            || self.sent.is_some_and(|sent| self.received_at.seconds_since(sent) > WAITED_SECONDS)
    }
}

// === impl Bucket ===

impl Bucket {
    fn try_spend(&mut self, transit: TransitTimes, limit: RateLimit) -> bool {
        let beyond = self.allowance.refill(limit, transit.received_at);
        // While the broker holds messages, unused earnings belong to those still to come. Otherwise
        // only the one longest absence counts: a device that always sends saves nothing.
        self.saved = if transit.was_held() { self.saved + beyond } else { self.saved.max(beyond) };
        self.saved = self.saved.min(limit.per_second * SAVED_SECONDS_MAX);
        (transit.has_waited() && try_spend_one(&mut self.saved)) || self.allowance.try_spend()
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
    fn at(second: i64, sent: Option<i64>) -> TransitTimes {
        let received_at = START.plus_seconds(second);
        TransitTimes {
            sent: sent.map(|sent| START.plus_seconds(sent)),
            held_since: received_at,
            received_at,
        }
    }

    /// A message that arrives at `second`, which the broker may have held since `since`.
    fn held(second: i64, since: i64) -> TransitTimes {
        TransitTimes { held_since: START.plus_seconds(since), ..at(second, None) }
    }

    fn limiter(per_second: f64, burst: f64) -> RateLimiter {
        RateLimiter::new(RateLimit { per_second, burst })
    }

    #[test]
    fn a_device_has_its_burst_then_its_rate_and_limits_no_other() {
        let mut limiter = limiter(2.0, 3.0);
        let (loud, calm) = (device("loud"), device("calm"));
        assert_eq!((0..10).filter(|_| limiter.charge(&loud, at(0, None))).count(), 3);
        assert!(limiter.charge(&calm, at(0, None)));
        assert_eq!((0..10).filter(|_| limiter.charge(&loud, at(1, None))).count(), 2);
        assert_eq!(
            (0..100).filter(|_| limiter.charge(&loud, at(1_000, None))).count(),
            3,
            "none of it waited"
        );
    }

    #[test]
    fn a_backlog_within_the_rate_is_accepted_with_and_without_a_ts() {
        for known in [true, false] {
            let mut limiter = limiter(2.0, 3.0);
            if known {
                assert!(limiter.charge(&device("d"), at(0, None)));
            }
            // No daemon read for 40 s; what arrived meanwhile is read within a second, together
            // with one second's worth.
            let refused = (0..82).filter(|number| {
                let second = 40 + number / 80;
                !limiter.charge(&device("d"), held(second, 0))
            });
            assert_eq!(refused.count(), 0, "known before: {known}");
        }
        let mut limiter = limiter(2.0, 3.0);
        assert!(limiter.charge(&device("d"), at(0, None)));
        assert_eq!(
            (1..=40).filter(|sent| !limiter.charge(&device("d"), at(41, Some(*sent)))).count(),
            0,
            "its own"
        );
    }

    #[test]
    fn a_backlog_beyond_the_rate_is_refused_beyond_it() {
        let mut limiter = limiter(2.0, 3.0);
        assert!(limiter.charge(&device("d"), at(0, None)));
        let taken = (0..1_000).filter(|_| limiter.charge(&device("d"), held(40, 0))).count();
        assert_eq!(taken, 82, "40 s at the rate, and what was left of the burst");
    }

    #[test]
    fn messages_that_arrive_during_a_hold_cost_the_backlog_nothing() {
        let mut limiter = limiter(2.0, 3.0);
        // For 100 s one message in two seconds gets through, then all the others at once.
        let trickled =
            (0..50).filter(|step| limiter.charge(&device("d"), held(step * 2, 0))).count();
        let flood = (0..200).filter(|_| limiter.charge(&device("d"), held(100, 0))).count();
        assert_eq!(trickled + flood, 203);
    }

    #[test]
    fn no_ts_buys_more_than_the_time_since_the_device_was_seen() {
        let mut limiter = limiter(2.0, 3.0);
        let device = device("d");
        let old = |second: i64| at(second, Some(second - 86_400));
        assert_eq!(
            (0..1_000).filter(|_| limiter.charge(&device, old(0))).count(),
            3,
            "never seen before"
        );
        // Always there, and always with an old time: nothing is saved up.
        let steady = (1..=3_600).filter(|second| limiter.charge(&device, old(*second))).count();
        assert_eq!(steady, 3_600);
        let flood = (0..10_000).filter(|_| limiter.charge(&device, old(3_600))).count();
        assert!(flood <= 6, "{flood}");
        assert_eq!(
            (0..10_000).filter(|_| limiter.charge(&device, old(3_610))).count(),
            20,
            "ten seconds away"
        );
    }

    #[test]
    fn of_too_many_devices_those_with_a_full_bucket_are_removed() {
        let mut limiter = limiter(1000.0, 1.0);
        for number in 0..SWEEP_EVERY * 2 {
            let received_at = Timestamp::from_micros(i64::try_from(number).unwrap() * 1_000);
            limiter.charge(
                &device(&number.to_string()),
                TransitTimes { sent: None, held_since: received_at, received_at },
            );
        }
        assert!(limiter.buckets.len() < 10, "{}", limiter.buckets.len());
    }
}
