//! Counts what is in flight: messages to acknowledge, and their bytes in memory.
//!
//! Packet identifiers are no keys here: Mosquitto 2.0.11 reuses one while it is in flight.

use std::collections::VecDeque;

/// Upper bound for payload bytes in flight; above it the socket is not read.
const BUDGET: usize = 64 * 1024 * 1024;

/// Messages in flight on this connection, and chunks of earlier connections in the queue. Without
/// those, a broker that reconnects often would fill the memory one window at a time.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Messages to acknowledge, in order of arrival.
    unacked: VecDeque<Unacked>,
    unacked_bytes: usize,
    /// Chunks in the queue, oldest first.
    queued: VecDeque<QueuedChunk>,
    queued_bytes: usize,
}

/// A message to acknowledge; a packet has fewer than 2^32 bytes.
#[derive(Clone, Copy, Debug)]
struct Unacked {
    bytes: u32,
    packet_id: u16,
}

/// Messages that were enqueued together.
#[derive(Clone, Copy, Debug)]
struct QueuedChunk {
    /// Bytes of all its messages.
    whole: usize,
    /// Bytes counted here: all, except those counted as unacknowledged.
    counted: usize,
}

// === impl Inflight ===

impl Inflight {
    /// Records a message that must be acknowledged.
    pub fn record_received(&mut self, packet_id: u16, bytes: usize) {
        self.unacked
            .push_back(Unacked { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), packet_id });
        self.unacked_bytes += bytes;
    }

    /// Removes the oldest message with this identifier, which is almost always the first.
    pub fn acknowledged(&mut self, packet_id: u16) {
        let place = self.unacked.iter().position(|message| message.packet_id == packet_id);
        let message = place.and_then(|place| self.unacked.remove(place));
        self.unacked_bytes -= message.map_or(0, |message| message.bytes as usize);
    }

    /// Records an enqueued chunk of `whole` bytes, of which `at_most_once` carry no
    /// acknowledgement.
    pub fn record_enqueued(&mut self, whole: usize, at_most_once: usize) {
        self.queued.push_back(QueuedChunk { whole, counted: at_most_once });
        self.queued_bytes += at_most_once;
    }

    /// Removes the oldest chunks until `chunks` remain, as in the queue.
    pub fn set_queue_len(&mut self, chunks: usize) {
        while self.queued.len() > chunks {
            self.queued_bytes -= self.queued.pop_front().map_or(0, |chunk| chunk.counted);
        }
    }

    /// Drops what can no longer be acknowledged; queued chunks count until they are taken. Returns
    /// the unacknowledged identifiers, except the last `not_enqueued`.
    pub fn connection_ended(&mut self, not_enqueued: usize) -> impl Iterator<Item = u16> {
        self.unacked_bytes = 0;
        let mut unacked = std::mem::take(&mut self.unacked);
        unacked.truncate(unacked.len() - not_enqueued.min(unacked.len()));
        for chunk in &mut self.queued {
            chunk.counted = chunk.whole;
        }
        self.queued_bytes = self.queued.iter().map(|chunk| chunk.counted).sum();
        unacked.into_iter().map(|message| message.packet_id)
    }

    /// Number of messages to acknowledge.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether the broker exceeded the window. Mosquitto before 2.0.13 does, and would send its
    /// whole backlog. Only acknowledgements reduce the count.
    pub fn is_over_window(&self, window: u16) -> bool {
        self.unacked.len() > usize::from(window)
    }

    /// Whether the byte budget is exceeded, with `waiting` bytes at QoS 0 outside the queue.
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
    fn bytes_count_until_they_are_acknowledged_or_taken_from_the_queue() {
        let mut inflight = Inflight::default();
        inflight.record_received(ID, BUDGET);
        assert!(!inflight.is_over_budget(0));
        assert!(inflight.is_over_budget(1));
        inflight.record_enqueued(1, 1);
        inflight.record_enqueued(BUDGET, 0);
        assert!(inflight.is_over_budget(0));
        inflight.set_queue_len(1);
        assert!(!inflight.is_over_budget(0));
        inflight.record_received(ID, 1);
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
        (0..WINDOW).for_each(|_| inflight.record_received(ID, 1));
        assert!(!inflight.is_over_window(WINDOW), "a full window is allowed");
        inflight.record_received(ID, 1);
        assert!(inflight.is_over_window(WINDOW));
        inflight.acknowledged(ID);
        assert!(!inflight.is_over_window(WINDOW));
    }

    #[test]
    fn chunks_of_an_ended_connection_count_until_they_are_taken_from_the_queue() {
        let mut inflight = Inflight::default();
        for _ in 0..2 {
            assert!(!inflight.is_over_budget(0));
            inflight.record_received(ID, BUDGET / 2 + 1);
            inflight.record_enqueued(BUDGET / 2 + 1, 0);
            assert_eq!(inflight.connection_ended(0).count(), 1);
        }
        assert_eq!(inflight.unacked(), 0);
        assert!(inflight.is_over_budget(0), "the same messages twice");
        inflight.set_queue_len(1);
        assert!(!inflight.is_over_budget(0));
        inflight.set_queue_len(0);
        assert!(!inflight.is_over_budget(BUDGET));
    }

    #[test]
    fn enqueued_messages_without_acknowledgement_remain_in_any_order_of_acknowledgements() {
        let mut inflight = Inflight::default();
        (1..=5).for_each(|packet_id| inflight.record_received(packet_id, 10));
        inflight.acknowledged(2);
        inflight.acknowledged(1);
        inflight.acknowledged(99);
        assert_eq!((inflight.unacked(), inflight.unacked_bytes), (3, 30));
        assert_eq!(inflight.connection_ended(1).collect::<Vec<_>>(), [3, 4]);
    }
}
