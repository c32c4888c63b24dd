//! One message of many in flight was refused, and those behind it may be accepted: what is sent again, so
//! that the last appearances of a device's messages are in order.
//!
//! It sends nothing.

use super::lane_queue::{HeldForward, LaneQueue, SendAgain};
use crate::domain::outbox::QueuedForward;

/// Most messages in flight, and most that are looked at, while each device has one in flight.
const SINGLE_MOST: usize = 64;

// === impl LaneQueue ===

impl LaneQueue {
    /// An older message was refused: those in flight behind it are sent again in order, of its device
    /// if the rate was too high, else of its topic.
    pub(super) fn repeat_behind(&mut self, refused: &QueuedForward, repeat: SendAgain) {
        for waiting in self.sent.values_mut().filter(|waiting| waiting.forward.id > refused.id) {
            let is_behind = match repeat {
                SendAgain::No => false,
                SendAgain::Throttled => {
                    waiting.repeat == SendAgain::No && is_of_device(&waiting.forward, refused)
                }
                SendAgain::TopicRefused => waiting.forward.topic == refused.topic,
            };
            if is_behind {
                waiting.repeat = repeat;
            }
        }
    }

    /// Whether a message of this topic is in flight that is sent again because of its topic.
    pub(super) fn has_repeats_of(&self, topic: &str) -> bool {
        let mut sent = self.sent.values();
        sent.any(|one| one.repeat == SendAgain::TopicRefused && one.forward.topic == topic)
    }

    /// Makes the next message one of a device that has none in flight; false: there is none among the
    /// first ones, or enough are in flight.
    pub(super) fn prefer_idle_device(&mut self) -> bool {
        if self.sent.len() >= SINGLE_MOST {
            return false;
        }
        let is_idle = |one: &HeldForward| {
            one.is_try || !self.sent.values().any(|sent| is_of_device(&sent.forward, &one.forward))
        };
        let Some(place) = self.ready.iter().take(SINGLE_MOST).position(is_idle) else {
            return false;
        };
        if place > 0
            && let Some(waiting) = self.ready.remove(place)
        {
            self.ready.push_front(waiting);
        }
        true
    }
}

// --- private helpers ---

fn is_of_device(one: &QueuedForward, other: &QueuedForward) -> bool {
    one.device == other.device && one.tenant == other.tenant
}
