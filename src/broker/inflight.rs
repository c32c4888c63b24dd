//! How much has been handed over and is not done with: messages to acknowledge, and bytes in memory.
//!
//! It knows no packet identifiers: Mosquitto 2.0.11 uses one again while it is in flight, so nothing may be keyed by it.

use std::collections::VecDeque;

/// The most payload bytes handed over and not done with; above it the socket is not read.
const BUDGET: usize = 64 * 1024 * 1024;

/// What is in flight: on the connection at hand, and in the queue also what earlier ones left there. Their messages come
/// again while they still wait, so a broker that comes and goes would else fill the memory a window at a time.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Sizes of the messages to acknowledge, in order of arrival. They may be acknowledged in another order: then the sum
    /// is off until the last of them is.
    unacked: VecDeque<usize>,
    unacked_bytes: usize,
    /// The lots in the queue, oldest first.
    queued: VecDeque<Lot>,
    queued_bytes: usize,
}

/// Messages that were handed over together.
#[derive(Clone, Copy, Debug)]
struct Lot {
    /// Bytes of all of them.
    whole: usize,
    /// Those that count here: all, unless they wait to be acknowledged and count there.
    counted: usize,
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

    /// A lot of so many bytes, so many of them at QoS 0, went into the queue.
    pub fn handed_over(&mut self, whole: usize, at_most_once: usize) {
        self.queued.push_back(Lot { whole, counted: at_most_once });
        self.queued_bytes += at_most_once;
    }

    /// The queue now holds so many lots; the others are out of it.
    pub fn queue_holds(&mut self, lots: usize) {
        while self.queued.len() > lots {
            self.queued_bytes -= self.queued.pop_front().map_or(0, |lot| lot.counted);
        }
    }

    /// Nothing can be acknowledged any more; what is in the queue stays there until it is taken.
    pub fn connection_ended(&mut self) {
        self.unacked.clear();
        self.unacked_bytes = 0;
        for lot in &mut self.queued {
            lot.counted = lot.whole;
        }
        self.queued_bytes = self.queued.iter().map(|lot| lot.counted).sum();
    }

    /// Messages to acknowledge.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// More is to be acknowledged than was agreed. A broker that keeps to the window never sends so much; Mosquitto before
    /// 2.0.13 does, and would move all of its backlog into our memory. Only acknowledgements make it less.
    pub fn is_over_window(&self, window: u16) -> bool {
        self.unacked.len() > usize::from(window)
    }

    /// Too many bytes are in memory, when so many at QoS 0 wait outside the queue.
    pub fn is_over_budget(&self, waiting: usize) -> bool {
        self.unacked_bytes + self.queued_bytes + waiting > BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u16 = 3;

    #[test]
    fn bytes_count_until_they_are_acknowledged_or_out_of_the_queue() {
        let mut inflight = Inflight::default();
        inflight.arrived(BUDGET);
        assert!(!inflight.is_over_budget(0));
        assert!(inflight.is_over_budget(1));
        inflight.handed_over(1, 1);
        inflight.handed_over(BUDGET, 0);
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

    #[test]
    fn a_broker_that_sends_more_than_the_window_waits_for_acknowledgements() {
        let mut inflight = Inflight::default();
        (0..WINDOW).for_each(|_| inflight.arrived(1));
        assert!(!inflight.is_over_window(WINDOW), "a full window is no offence");
        inflight.arrived(1);
        assert!(inflight.is_over_window(WINDOW));
        inflight.acknowledged();
        assert!(!inflight.is_over_window(WINDOW));
    }

    #[test]
    fn what_an_ended_connection_left_in_the_queue_counts_until_it_is_taken() {
        let mut inflight = Inflight::default();
        for _ in 0..2 {
            assert!(!inflight.is_over_budget(0));
            inflight.arrived(BUDGET / 2 + 1);
            inflight.handed_over(BUDGET / 2 + 1, 0);
            inflight.connection_ended();
        }
        assert_eq!(inflight.unacked(), 0);
        assert!(inflight.is_over_budget(0), "the same messages twice");
        inflight.queue_holds(1);
        assert!(!inflight.is_over_budget(0));
        inflight.queue_holds(0);
        assert!(!inflight.is_over_budget(BUDGET));
    }
}
