//! How many errors devices receive: one per device and reason in a minute, and a rate of all
//! together.
//!
//! It publishes nothing and reads no clock. What it remembers is bounded; the oldest entries go
//! first.

use std::collections::{HashMap, VecDeque};

use crate::domain::ids::DeviceKey;
use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;

/// Seconds between two errors to one device for one reason.
pub const INTERVAL_SECONDS: i64 = 60;

/// All errors together, per second.
pub const OVERALL: RateLimit = RateLimit { per_second: 100.0, burst: 100.0 };

/// Most pairs of device and reason that are remembered.
pub const REMEMBERED: usize = 50_000;

/// What was sent, and what was held back since.
#[derive(Debug)]
pub(super) struct ErrorLimits {
    devices: HashMap<DeviceKey, Vec<SentError>>,
    /// The pairs in the order of their errors. A pair occurs once for each of its errors, and only
    /// its last occurrence counts.
    order: VecDeque<(DeviceKey, Reason, Timestamp)>,
    capacity: usize,
    allowance: Allowance,
}

/// The last error to a device for one reason.
#[derive(Debug)]
struct SentError {
    reason: Reason,
    at: Timestamp,
    suppressed: u64,
}

// === impl ErrorLimits ===

impl ErrorLimits {
    pub(super) fn new(capacity: usize, now: Timestamp) -> Self {
        Self {
            devices: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            allowance: Allowance::full(OVERALL, now),
        }
    }

    /// Whether a refusal causes an error now: the number of refusals that caused none since the
    /// last error, or `None`. `identity` is the strict identity of the device. `has_room` says
    /// whether the error can be sent at all.
    pub(super) fn admit(
        &mut self,
        identity: &str,
        reason: Reason,
        now: Timestamp,
        has_room: bool,
    ) -> Option<u64> {
        let known = self
            .devices
            .get_mut(identity)
            .and_then(|sent| sent.iter_mut().find(|sent| sent.reason == reason));
        // A clock that was set back does not silence a device.
        let is_due = |at: Timestamp| now < at || at.plus_seconds(INTERVAL_SECONDS) <= now;
        if let Some(sent) = known {
            if !is_due(sent.at) || !has_room || !spend(&mut self.allowance, now) {
                sent.suppressed += 1;
                return None;
            }
        } else if !has_room || !spend(&mut self.allowance, now) {
            return None;
        }
        self.remember(identity, reason, now)
    }

    fn remember(&mut self, identity: &str, reason: Reason, now: Timestamp) -> Option<u64> {
        while self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        let key = match self.devices.get_key_value(identity) {
            Some((key, _)) => key.clone(),
            None => identity.parse().ok()?,
        };
        self.order.push_back((key.clone(), reason, now));
        let of_device = self.devices.entry(key).or_default();
        if let Some(sent) = of_device.iter_mut().find(|sent| sent.reason == reason) {
            sent.at = now;
            return Some(std::mem::take(&mut sent.suppressed));
        }
        of_device.push(SentError { reason, at: now, suppressed: 0 });
        Some(0)
    }

    fn forget_oldest(&mut self) {
        let Some((key, reason, at)) = self.order.pop_front() else { return };
        let Some(of_device) = self.devices.get_mut(&key) else { return };
        of_device.retain(|sent| sent.reason != reason || sent.at != at);
        if of_device.is_empty() {
            self.devices.remove(&key);
        }
    }
}

/// Spends one error of the rate of all together.
fn spend(allowance: &mut Allowance, now: Timestamp) -> bool {
    allowance.refill(OVERALL, now);
    allowance.try_spend()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: Reason = Reason::TimestampOutOfRange;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(seconds)
    }

    #[test]
    fn a_device_gets_one_error_a_minute_for_each_reason_with_the_number_held_back() {
        let mut limits = ErrorLimits::new(REMEMBERED, at(0));
        assert_eq!(limits.admit("t/device/d", REASON, at(0), true), Some(0));
        assert_eq!(limits.admit("t/device/d", Reason::BadPayload, at(0), true), Some(0));
        for second in 1..60 {
            assert_eq!(limits.admit("t/device/d", REASON, at(second), true), None, "{second}");
        }
        assert_eq!(limits.admit("t/device/e", REASON, at(59), true), Some(0), "another device");
        assert_eq!(limits.admit("t/device/d", REASON, at(60), false), None, "no room");
        assert_eq!(limits.admit("t/device/d", REASON, at(60), true), Some(60));
        assert_eq!(limits.admit("t/device/d", REASON, at(119), true), None);
        assert_eq!(limits.admit("t/device/d", REASON, at(120), true), Some(1));
        assert_eq!(
            limits.admit("t/device/d", REASON, at(30), true),
            Some(0),
            "the clock was set back"
        );
    }

    #[test]
    fn all_devices_together_get_a_hundred_a_second() {
        let mut limits = ErrorLimits::new(REMEMBERED, at(0));
        let mut flood = |now: Timestamp, from: u32| {
            (from..from + 500)
                .filter(|n| limits.admit(&format!("t/device/d{n}"), REASON, now, true).is_some())
                .count()
        };
        assert_eq!(flood(at(0), 0), 100);
        assert_eq!(flood(at(0), 1_000), 0);
        assert_eq!(flood(at(1), 2_000), 100);
        assert_eq!(limits.devices.len(), 200, "who got none is not remembered");
    }

    #[test]
    fn the_oldest_pair_is_forgotten_first_and_nothing_grows_beyond_the_bound() {
        let mut limits = ErrorLimits::new(3, at(0));
        for (second, device) in
            [(0, "a"), (60, "b"), (120, "c"), (121, "a"), (181, "a"), (182, "d")]
        {
            let sent = limits.admit(&format!("t/device/{device}"), REASON, at(second), true);
            assert!(sent.is_some(), "{device} at {second}");
            assert!(limits.order.len() <= 3 && limits.devices.len() <= 3);
        }
        assert_eq!(
            limits.admit("t/device/a", REASON, at(183), true),
            None,
            "its last error counts"
        );
        assert_eq!(limits.admit("t/device/c", REASON, at(183), true), Some(0), "it was forgotten");
    }
}
