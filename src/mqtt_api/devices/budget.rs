//! The budget of each device: a burst of requests and then a rate; one refusal a second; then
//! silence.
//!
//! A flood costs the table nothing and the broker one response a second. The table is bounded: while
//! it is full, devices without an entry share one budget.

use std::collections::HashMap;

use crate::config::sections::mqtt_api::MqttApiConfig;
use crate::domain::ids::DeviceKey;
use crate::domain::rate_limit::{Allowance, RateLimit};
use crate::domain::time::Timestamp;

/// The most devices in the table, about 160 bytes each. A device is forgotten when its budget is
/// full again.
const DEVICES_MAX: usize = 65_536;

/// How often a full table is searched for full budgets, in seconds.
const SWEEP_SECONDS: f64 = 1.0;

/// Responses that refuse a request, for each device.
const REFUSALS: RateLimit = RateLimit { per_second: 1.0, burst: 1.0 };

/// The budgets of all devices.
#[derive(Debug)]
pub(super) struct DeviceBudgets {
    limit: RateLimit,
    budgets: HashMap<DeviceKey, DeviceBudget>,
    /// Of all devices that have no entry while the table is full.
    shared: DeviceBudget,
    swept_at: Timestamp,
}

/// Whether a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Allowed,
    /// It is refused, and the device is informed.
    Refused {
        /// Seconds until the next request is allowed.
        retry_after: u64,
    },
    /// It is dropped: the device was informed within the last second.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct DeviceBudget {
    requests: Allowance,
    refusals: Allowance,
}

// === impl DeviceBudgets ===

impl DeviceBudgets {
    pub(super) fn new(config: &MqttApiConfig) -> Self {
        let limit = RateLimit {
            per_second: f64::from(config.device_rps),
            burst: f64::from(config.device_burst),
        };
        Self {
            limit,
            budgets: HashMap::new(),
            shared: DeviceBudget::full(limit, Timestamp::default()),
            swept_at: Timestamp::default(),
        }
    }

    /// Charges one request to a device.
    pub(super) fn charge(&mut self, device: &DeviceKey, now: Timestamp) -> Verdict {
        let limit = self.limit;
        let budget = self.of(device, now);
        budget.requests.refill(limit, now);
        if budget.requests.try_spend() {
            return Verdict::Allowed;
        }
        let retry_after = budget.requests.whole_seconds_to_next(limit).max(1);
        if budget.may_refuse(now) { Verdict::Refused { retry_after } } else { Verdict::Silent }
    }

    /// Whether the device gets one more refusal, which is charged.
    pub(super) fn may_refuse(&mut self, device: &DeviceKey, now: Timestamp) -> bool {
        self.of(device, now).may_refuse(now)
    }

    fn of(&mut self, device: &DeviceKey, now: Timestamp) -> &mut DeviceBudget {
        let limit = self.limit;
        if !self.budgets.contains_key(device) {
            if !self.has_room(now) {
                return &mut self.shared;
            }
            self.budgets.insert(device.clone(), DeviceBudget::full(limit, now));
        }
        self.budgets.get_mut(device).unwrap_or(&mut self.shared)
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        let since_sweep = now.seconds_since(self.swept_at);
        if self.budgets.len() >= DEVICES_MAX && !(0.0..SWEEP_SECONDS).contains(&since_sweep) {
            self.swept_at = now;
            let limit = self.limit;
            self.budgets.retain(|_, budget| !budget.is_full(limit, now));
        }
        self.budgets.len() < DEVICES_MAX
    }
}

// === impl DeviceBudget ===

impl DeviceBudget {
    const fn full(limit: RateLimit, now: Timestamp) -> Self {
        Self { requests: Allowance::full(limit, now), refusals: Allowance::full(REFUSALS, now) }
    }

    fn may_refuse(&mut self, now: Timestamp) -> bool {
        self.refusals.refill(REFUSALS, now);
        self.refusals.try_spend()
    }

    fn is_full(&self, limit: RateLimit, now: Timestamp) -> bool {
        self.requests.is_full(limit, now) && self.refusals.is_full(REFUSALS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(device_rps: u32, device_burst: u32) -> DeviceBudgets {
        let config = crate::config::Config::load(&crate::config::Sources::default()).unwrap();
        let config = config.config.mqtt_api;
        DeviceBudgets::new(&MqttApiConfig { device_rps, device_burst, ..config })
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000_000 + millis * 1_000)
    }

    fn device(name: &str) -> DeviceKey {
        DeviceKey::new("t", name).unwrap()
    }

    #[test]
    fn a_device_has_a_burst_then_one_refusal_a_second_and_limits_no_other() {
        let mut budgets = budgets(1, 3);
        let mut of_loud = |millis| budgets.charge(&device("loud"), at(millis));
        let verdicts: Vec<Verdict> = (0..5).map(|_| of_loud(0)).collect();
        let refused = Verdict::Refused { retry_after: 1 };
        assert_eq!(verdicts[..3], [Verdict::Allowed; 3]);
        assert_eq!(verdicts[3..], [refused, Verdict::Silent]);
        assert_eq!(of_loud(999), Verdict::Silent);
        assert_eq!(of_loud(1_000), Verdict::Allowed);
        assert_eq!(of_loud(1_001), refused);
        assert_eq!(of_loud(1_002), Verdict::Silent);
        assert_eq!(budgets.charge(&device("calm"), at(1_002)), Verdict::Allowed);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_devices_that_rest() {
        let mut budgets = budgets(1, 1);
        for number in 0..DEVICES_MAX {
            assert_eq!(budgets.charge(&device(&number.to_string()), at(0)), Verdict::Allowed);
        }
        assert_eq!(budgets.charge(&device("one"), at(0)), Verdict::Allowed, "the shared budget");
        assert_ne!(budgets.charge(&device("two"), at(0)), Verdict::Allowed);
        assert_eq!(budgets.budgets.len(), DEVICES_MAX);
        assert_eq!(budgets.charge(&device("two"), at(5_000)), Verdict::Allowed);
        assert_eq!(budgets.budgets.len(), 1);
    }
}
