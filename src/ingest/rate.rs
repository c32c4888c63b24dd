//! The rate one device may send at: a token bucket each, charged only once its identity is established.
//!
//! A full bucket is forgotten, so memory is bounded by the devices that sent within the last moments.

use std::collections::HashMap;

use crate::config::ingest::RateLimit;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// So many charges between two sweeps of full buckets.
const SWEEP_EVERY: usize = 65_536;

/// The buckets of all devices.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    buckets: HashMap<DeviceKey, Bucket>,
    charges: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Timestamp,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// No device has sent anything yet.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: HashMap::new(), charges: 0 }
    }

    /// Charges one message to a device; false when it has sent too much.
    pub fn charge(&mut self, device: &DeviceKey, now: Timestamp) -> bool {
        self.charges += 1;
        if self.charges.is_multiple_of(SWEEP_EVERY) {
            let limit = self.limit;
            self.buckets.retain(|_, bucket| bucket.at(now, limit) < limit.burst);
        }
        if !self.buckets.contains_key(device) {
            self.buckets.insert(device.clone(), Bucket { tokens: self.limit.burst, filled_at: now });
        }
        let Some(bucket) = self.buckets.get_mut(device) else { return true };
        bucket.tokens = bucket.at(now, self.limit);
        bucket.filled_at = now;
        let pays = bucket.tokens >= 1.0;
        if pays {
            bucket.tokens -= 1.0;
        }
        pays
    }
}

impl Bucket {
    fn at(self, now: Timestamp, limit: RateLimit) -> f64 {
        let gained = now.seconds_since(self.filled_at).max(0.0) * limit.per_second;
        (self.tokens + gained).min(limit.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_burst_and_then_its_rate_and_no_other_pays_for_it() {
        let mut limiter = RateLimiter::new(RateLimit { per_second: 2.0, burst: 3.0 });
        let loud = DeviceKey::new("t", "loud").unwrap();
        let calm = DeviceKey::new("t", "calm").unwrap();
        let start = Timestamp::from_micros(0);
        let at_once = (0..10).filter(|_| limiter.charge(&loud, start)).count();
        assert_eq!(at_once, 3);
        assert!(limiter.charge(&calm, start));
        let later = start.plus_seconds(1);
        assert_eq!((0..10).filter(|_| limiter.charge(&loud, later)).count(), 2);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut limiter = RateLimiter::new(RateLimit { per_second: 1000.0, burst: 1.0 });
        for number in 0..SWEEP_EVERY {
            let device = DeviceKey::new("t", &number.to_string()).unwrap();
            limiter.charge(&device, Timestamp::from_micros(i64::try_from(number).unwrap() * 1_000));
        }
        assert!(limiter.buckets.len() < 10, "{}", limiter.buckets.len());
    }
}
