//! How much has been handed over and is not done with: messages to acknowledge, and bytes in memory.
//!
//! It knows no packet identifiers: Mosquitto 2.0.11 uses one again while it is in flight, so nothing may be keyed by it.

use std::collections::VecDeque;

/// The most payload bytes handed over and not done with; above it the socket is not read. A broker that ignores the
/// window (Mosquitto before 2.0.13) would otherwise fill the memory.
const BUDGET: usize = 64 * 1024 * 1024;

/// What is in flight on one connection.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Sizes of the messages to acknowledge, in order of arrival. They may be acknowledged in another order: then the sum
    /// is off until the last of them is.
    unacked: VecDeque<usize>,
    unacked_bytes: usize,
    /// Bytes at QoS 0 of each lot in the queue, oldest first.
    queued: VecDeque<usize>,
    queued_bytes: usize,
}

// === impl Inflight ===

impl Inflight {
    /// A message to acknowledge was read.
    pub fn arrived(&mut self, bytes: usize) {
        self.unacked.push_back(bytes);
        self.unacked_bytes += bytes;
    }

    /// One of them was acknowledged.
    pub fn acknowledged(&mut self) {
        self.unacked_bytes -= self.unacked.pop_front().unwrap_or(0);
    }

    /// A lot with so many bytes at QoS 0 went into the queue.
    pub fn handed_over(&mut self, bytes: usize) {
        self.queued.push_back(bytes);
        self.queued_bytes += bytes;
    }

    /// The queue now holds so many lots; the others are out of it.
    pub fn queue_holds(&mut self, lots: usize) {
        while self.queued.len() > lots {
            self.queued_bytes -= self.queued.pop_front().unwrap_or(0);
        }
    }

    /// Messages to acknowledge.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// No more should be read for now, when so many bytes at QoS 0 wait outside the queue.
    pub fn is_over_budget(&self, waiting: usize) -> bool {
        self.unacked_bytes + self.queued_bytes + waiting > BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_they_are_acknowledged_or_out_of_the_queue() {
        let mut inflight = Inflight::default();
        inflight.arrived(BUDGET);
        assert!(!inflight.is_over_budget(0));
        assert!(inflight.is_over_budget(1));
        inflight.handed_over(1);
        inflight.handed_over(0);
        assert!(inflight.is_over_budget(0));
        inflight.queue_holds(1);
        assert!(!inflight.is_over_budget(0));
        inflight.arrived(1);
        assert!(inflight.is_over_budget(0));
        inflight.acknowledged();
        assert_eq!(inflight.unacked(), 1);
        inflight.acknowledged();
        inflight.acknowledged();
        assert_eq!((inflight.unacked(), inflight.is_over_budget(0)), (0, false));
    }
}
