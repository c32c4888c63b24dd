//! How much has been handed over and is not done with: messages to acknowledge, and bytes in memory.
//!
//! Nothing is keyed by packet identifiers: Mosquitto 2.0.11 uses one again while it is in flight.

use std::collections::VecDeque;

/// The most payload bytes handed over and not done with; above it the socket is not read.
const BUDGET: usize = 64 * 1024 * 1024;

/// What is in flight: on the connection at hand, and in the queue also what earlier ones left there. Their messages come
/// again while they still wait, so a broker that comes and goes would else fill the memory a window at a time.
#[derive(Debug, Default)]
pub struct Inflight {
    /// The messages to acknowledge, in order of arrival.
    unacked: VecDeque<Unacked>,
    unacked_bytes: usize,
    /// The lots in the queue, oldest first.
    queued: VecDeque<QueuedChunk>,
    queued_bytes: usize,
}

/// A message to acknowledge; no packet has 2^32 bytes.
#[derive(Clone, Copy, Debug)]
struct Unacked {
    bytes: u32,
    packet_id: u16,
}

/// Messages that were handed over together.
#[derive(Clone, Copy, Debug)]
struct QueuedChunk {
    /// Bytes of all of them.
    whole: usize,
    /// Those that count here: all, unless they wait to be acknowledged and count there.
    counted: usize,
}

// === impl Inflight ===

impl Inflight {
    /// A message to acknowledge was read.
    pub fn arrived(&mut self, packet_id: u16, bytes: usize) {
        self.unacked.push_back(Unacked { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), packet_id });
        self.unacked_bytes += bytes;
    }

    /// The oldest of them with this identifier was acknowledged. Almost always it is the oldest of all.
    pub fn acknowledged(&mut self, packet_id: u16) {
        let place = self.unacked.iter().position(|message| message.packet_id == packet_id);
        let message = place.and_then(|place| self.unacked.remove(place));
        self.unacked_bytes -= message.map_or(0, |message| message.bytes as usize);
    }

    /// A lot of so many bytes, so many of them at QoS 0, went into the queue.
    pub fn handed_over(&mut self, whole: usize, at_most_once: usize) {
        self.queued.push_back(QueuedChunk { whole, counted: at_most_once });
        self.queued_bytes += at_most_once;
    }

    /// The queue now holds so many lots; the others are out of it.
    pub fn queue_holds(&mut self, lots: usize) {
        while self.queued.len() > lots {
            self.queued_bytes -= self.queued.pop_front().map_or(0, |lot| lot.counted);
        }
    }

    /// Nothing can be acknowledged any more; what is in the queue stays there until it is taken. The identifiers that were
    /// not acknowledged, without the last so many messages, which were not handed over.
    pub fn connection_ended(&mut self, kept_back: usize) -> impl Iterator<Item = u16> {
        self.unacked_bytes = 0;
        let mut unacked = std::mem::take(&mut self.unacked);
        unacked.truncate(unacked.len() - kept_back.min(unacked.len()));
        for lot in &mut self.queued {
            lot.counted = lot.whole;
        }
        self.queued_bytes = self.queued.iter().map(|lot| lot.counted).sum();
        unacked.into_iter().map(|message| message.packet_id)
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
    const ID: u16 = 7;

    #[test]
    fn bytes_count_until_they_are_acknowledged_or_out_of_the_queue() {
        let mut inflight = Inflight::default();
        inflight.arrived(ID, BUDGET);
        assert!(!inflight.is_over_budget(0));
        assert!(inflight.is_over_budget(1));
        inflight.handed_over(1, 1);
        inflight.handed_over(BUDGET, 0);
        assert!(inflight.is_over_budget(0));
        inflight.queue_holds(1);
        assert!(!inflight.is_over_budget(0));
        inflight.arrived(ID, 1);
        assert!(inflight.is_over_budget(0));
        inflight.acknowledged(ID);
        assert_eq!(inflight.unacked(), 1);
        inflight.acknowledged(ID);
        inflight.acknowledged(ID);
        assert_eq!((inflight.unacked(), inflight.is_over_budget(0)), (0, false));
    }

    #[test]
    fn a_broker_that_sends_more_than_the_window_waits_for_acknowledgements() {
        let mut inflight = Inflight::default();
        (0..WINDOW).for_each(|_| inflight.arrived(ID, 1));
        assert!(!inflight.is_over_window(WINDOW), "a full window is no offence");
        inflight.arrived(ID, 1);
        assert!(inflight.is_over_window(WINDOW));
        inflight.acknowledged(ID);
        assert!(!inflight.is_over_window(WINDOW));
    }

    #[test]
    fn what_an_ended_connection_left_in_the_queue_counts_until_it_is_taken() {
        let mut inflight = Inflight::default();
        for _ in 0..2 {
            assert!(!inflight.is_over_budget(0));
            inflight.arrived(ID, BUDGET / 2 + 1);
            inflight.handed_over(BUDGET / 2 + 1, 0);
            assert_eq!(inflight.connection_ended(0).count(), 1);
        }
        assert_eq!(inflight.unacked(), 0);
        assert!(inflight.is_over_budget(0), "the same messages twice");
        inflight.queue_holds(1);
        assert!(!inflight.is_over_budget(0));
        inflight.queue_holds(0);
        assert!(!inflight.is_over_budget(BUDGET));
    }

    #[test]
    fn what_was_handed_over_and_not_acknowledged_is_left_whatever_the_order_of_acknowledgements() {
        let mut inflight = Inflight::default();
        (1..=5).for_each(|packet_id| inflight.arrived(packet_id, 10));
        inflight.acknowledged(2);
        inflight.acknowledged(1);
        inflight.acknowledged(99);
        assert_eq!((inflight.unacked(), inflight.unacked_bytes), (3, 30));
        assert_eq!(inflight.connection_ended(1).collect::<Vec<_>>(), [3, 4]);
    }
}
