//! Gives each message a moment of receipt of its own.
//!
//! A message without `ts` is kept under its moment of receipt, and what was read from the socket at once was stamped at
//! once: two equal heartbeats would be one row. It judges no message, and moves a stamp by microseconds only.

use crate::domain::message::Delivery;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// A clock that stepped back further than this is followed: stamps that ran ahead of it would be wrong for too long.
const LEAD_MAX: i64 = MICROS_PER_SECOND;

/// The latest moment that was given.
#[derive(Debug, Default)]
pub struct Receipts {
    latest: Timestamp,
}

// === impl Receipts ===

impl Receipts {
    /// Moves moments that were given before to the next microsecond that is free.
    pub fn tell_apart(&mut self, deliveries: &mut [Delivery]) {
        for delivery in deliveries {
            delivery.received_at = self.next(delivery.received_at);
        }
    }

    fn next(&mut self, at: Timestamp) -> Timestamp {
        let lead = self.latest.micros().saturating_sub(at.micros());
        let free = if (0..LEAD_MAX).contains(&lead) { self.latest.micros().saturating_add(1) } else { at.micros() };
        self.latest = Timestamp::from_micros(free);
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(receipts: &mut Receipts, micros: i64) -> i64 {
        receipts.next(Timestamp::from_micros(micros)).micros()
    }

    #[test]
    fn no_moment_is_given_twice_and_none_is_moved_without_need() {
        let mut receipts = Receipts::default();
        let stamps = [10, 10, 10, 11, 20, 19].map(|micros| given(&mut receipts, micros));
        assert_eq!(stamps, [10, 11, 12, 13, 20, 21]);
    }

    #[test]
    fn a_clock_that_steps_back_far_is_followed() {
        let mut receipts = Receipts::default();
        let start = 100 * LEAD_MAX;
        assert_eq!(given(&mut receipts, start), start);
        assert_eq!(given(&mut receipts, start - LEAD_MAX + 1), start + 1);
        assert_eq!(given(&mut receipts, start - 2 * LEAD_MAX), start - 2 * LEAD_MAX);
    }
}
