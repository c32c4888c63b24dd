//! The messages that a lane holds: read and not sent, sent and not acknowledged, acknowledged and not
//! removed from the outbox.
//!
//! It is bounded by what the lane reads, and it never reorders: after a connection has ended, all that
//! was not acknowledged is sent again in the order of the outbox, before anything new.

use std::collections::{HashMap, VecDeque};

use crate::domain::link::ForwardMode;
use crate::domain::outbox::QueuedForward;
use crate::domain::time::Timestamp;

/// Most payload bytes that a lane wants to hold unsent.
const READY_BYTES: usize = 8 * 1024 * 1024;

/// Most messages that a lane holds unsent.
const READY_MOST: usize = 2_000;

/// The least that a lane wants to hold: a small window is answered often, and a read costs a round trip.
const READY_LEAST: usize = 400;

/// The size of a message before the first one was read.
const USUAL_BYTES: usize = 64 * 1024;

/// Bytes of a packet besides payload, topic and names: as it came, and as a CloudEvent.
const RAW_BYTES: usize = 70;
const EVENT_BYTES: usize = 380;

/// The messages of a lane.
#[derive(Debug)]
pub(super) struct LaneQueue {
    pub(super) ready: VecDeque<HeldForward>,
    ready_bytes: usize,
    pub(super) sent: HashMap<u16, HeldForward>,
    sent_bytes: usize,
    finished: Vec<i64>,
    /// Bytes of an average message.
    average: usize,
}

/// A message that the lane holds.
#[derive(Debug)]
pub(super) struct HeldForward {
    pub(super) forward: QueuedForward,
    /// Bytes of its packet, at least.
    pub(super) bytes: usize,
    /// Whether it was sent before.
    pub(super) was_sent: bool,
    /// Whether it tries a topic that the broker has refused.
    pub(super) is_try: bool,
    /// Whether it is sent once more although the broker accepts it.
    pub(super) repeat: SendAgain,
}

/// Whether a message in flight is sent once more: an older one of its device was refused, so the last
/// appearances are in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SendAgain {
    /// No.
    #[default]
    No,
    /// The rate was too high; the older one is in the queue.
    Throttled,
    /// The topic was refused; the older one waits in the outbox.
    TopicRefused,
}

// === impl LaneQueue ===

impl LaneQueue {
    pub(super) fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            ready_bytes: 0,
            sent: HashMap::new(),
            sent_bytes: 0,
            finished: Vec::new(),
            average: USUAL_BYTES,
        }
    }

    /// How many messages to read now; 0: enough are here.
    pub(super) fn room(&self, window: usize) -> usize {
        let by_bytes = READY_BYTES.saturating_sub(self.ready_bytes) / self.average;
        let wanted = (window * 4).clamp(READY_LEAST, READY_MOST);
        // A read costs a round trip: half of what is wanted, at least.
        if self.ready.len() > wanted / 2 || (self.ready_bytes > READY_BYTES / 2) {
            return 0;
        }
        (wanted - self.ready.len()).min(by_bytes.max(1))
    }

    /// The messages that the outbox must not hand out again.
    pub(super) fn held(&self) -> Vec<i64> {
        let all = self.ready.iter().chain(self.sent.values());
        all.map(|waiting| waiting.forward.id).collect()
    }

    /// Adds messages that were read, in their order. Lower ids than those here come first: they belong
    /// to a topic that works again, or their transaction was slow.
    pub(super) fn add(&mut self, rows: Vec<QueuedForward>) {
        let is_behind = match (self.ready.back(), rows.first()) {
            (Some(last), Some(first)) => last.forward.id < first.id,
            _ => true,
        };
        for forward in rows {
            let bytes = packet_bytes(&forward);
            self.average = (self.average * 7 + bytes) / 8 + 1;
            self.ready_bytes += bytes;
            let repeat = SendAgain::No;
            self.ready.push_back(HeldForward {
                forward,
                bytes,
                was_sent: false,
                is_try: false,
                repeat,
            });
        }
        if !is_behind {
            self.sort();
        }
    }

    /// Adds the message that tries a refused topic; it is sent next.
    pub(super) fn add_try(&mut self, forward: QueuedForward) {
        let bytes = packet_bytes(&forward);
        self.ready_bytes += bytes;
        let repeat = SendAgain::No;
        self.ready.push_front(HeldForward { forward, bytes, was_sent: true, is_try: true, repeat });
    }

    /// The next message to send.
    pub(super) fn next(&self) -> Option<&HeldForward> {
        self.ready.front()
    }

    /// Takes the next message.
    pub(super) fn take_next(&mut self) -> Option<HeldForward> {
        let waiting = self.ready.pop_front()?;
        self.ready_bytes -= waiting.bytes;
        Some(waiting)
    }

    /// Puts a message back: it is sent next.
    pub(super) fn put_back(&mut self, waiting: HeldForward) {
        self.ready_bytes += waiting.bytes;
        let is_first = self.ready.front().is_none_or(|first| waiting.forward.id < first.forward.id);
        self.ready.push_front(waiting);
        if !is_first {
            self.sort();
        }
    }

    /// Records a message that was sent.
    pub(super) fn sent(&mut self, packet_id: u16, waiting: HeldForward) {
        self.sent_bytes += waiting.bytes;
        self.sent.insert(packet_id, HeldForward { was_sent: true, ..waiting });
    }

    /// Takes the message that the broker has answered.
    pub(super) fn answered(&mut self, packet_id: u16) -> Option<HeldForward> {
        let waiting = self.sent.remove(&packet_id)?;
        self.sent_bytes -= waiting.bytes;
        Some(waiting)
    }

    /// Records a message that is to be removed from the outbox.
    pub(super) fn finish(&mut self, id: i64) {
        self.finished.push(id);
    }

    /// Takes the messages to remove from the outbox.
    pub(super) fn take_finished(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.finished)
    }

    /// Number of messages to remove from the outbox.
    pub(super) fn finished(&self) -> usize {
        self.finished.len()
    }

    /// The connection has ended: everything that was not acknowledged is sent again, in order.
    /// Returns the oldest of it, and its number.
    pub(super) fn connection_ended(&mut self) -> (Option<i64>, usize) {
        let oldest = self.sent.values().map(|waiting| waiting.forward.id).min();
        let number = self.sent.len();
        self.ready_bytes += std::mem::take(&mut self.sent_bytes);
        let sent = self.sent.drain().map(|(_, waiting)| waiting);
        self.ready.extend(sent.map(|waiting| HeldForward { repeat: SendAgain::No, ..waiting }));
        // Tries are read again when they are due.
        self.leave_out(|waiting| waiting.is_try);
        self.sort();
        (oldest, number)
    }

    /// Takes out the unsent messages of a topic: they stay in the outbox. Returns their ids, and when
    /// they were queued.
    pub(super) fn leave_out_topic(&mut self, topic: &str) -> Vec<(i64, Timestamp)> {
        let of_topic = |waiting: &&HeldForward| waiting.forward.topic == topic;
        let left_out = self.ready.iter().filter(of_topic);
        let ids = left_out.map(|waiting| (waiting.forward.id, waiting.forward.queued_at)).collect();
        self.leave_out(|waiting| waiting.forward.topic == topic);
        ids
    }

    /// The topics of unsent messages that were sent before.
    pub(super) fn topics_sent_before(&self) -> Vec<String> {
        let sent = self.ready.iter().filter(|waiting| waiting.was_sent);
        sent.map(|waiting| waiting.forward.topic.clone()).collect()
    }

    /// The message that tries a refused topic, if it is the only one without an acknowledgement.
    pub(super) fn lone_try(&self) -> Option<&QueuedForward> {
        let only = self.sent.values().next().filter(|_| self.sent.len() == 1)?;
        only.is_try.then_some(&only.forward)
    }

    /// Whether a message that tries a refused topic is ready or sent.
    pub(super) fn is_trying(&self) -> bool {
        self.ready.iter().chain(self.sent.values()).any(|waiting| waiting.is_try)
    }

    /// Takes the unsent message with this id.
    pub(super) fn take(&mut self, id: i64) -> Option<HeldForward> {
        let place = self.ready.iter().position(|waiting| waiting.forward.id == id)?;
        let waiting = self.ready.remove(place)?;
        self.ready_bytes -= waiting.bytes;
        Some(waiting)
    }

    /// Number and bytes of messages without an acknowledgement.
    pub(super) fn in_flight(&self) -> (usize, usize) {
        (self.sent.len(), self.sent_bytes)
    }

    fn leave_out(&mut self, is_left_out: impl Fn(&HeldForward) -> bool) {
        self.ready.retain(|waiting| !is_left_out(waiting));
        self.ready_bytes = self.ready.iter().map(|waiting| waiting.bytes).sum();
    }

    fn sort(&mut self) {
        self.ready.make_contiguous().sort_by_key(|waiting| (!waiting.is_try, waiting.forward.id));
    }
}

// === impl HeldForward ===

impl HeldForward {
    /// Seconds since the message was put into the outbox.
    pub(super) fn age(&self, now: Timestamp) -> f64 {
        now.seconds_since(self.forward.queued_at).max(0.0)
    }
}

/// Bytes of the packet, at least about: the limits of the other broker count properties, too.
fn packet_bytes(forward: &QueuedForward) -> usize {
    let names = forward.tenant.len() + forward.device.len() + forward.msg_type.len();
    let event = match forward.mode {
        ForwardMode::Raw => RAW_BYTES,
        // `source` and `subject` name the device, `type` and `subject` the path.
        ForwardMode::Binary | ForwardMode::Structured => EVENT_BYTES + 2 * names,
    };
    let via: usize = forward.via.iter().map(|node| node.len() + 1).sum();
    forward.payload.len() + forward.topic.len() + event + via
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::link::cloud_event::write::{EventSource, write};

    fn row(id: i64, topic: &str) -> QueuedForward {
        QueuedForward {
            id,
            lane: 0,
            tenant: "t".into(),
            device: "d".into(),
            msg_type: "telemetry".into(),
            topic: topic.to_owned(),
            mode: ForwardMode::Raw,
            payload: Bytes::from_static(b"{}"),
            time: Timestamp::default(),
            received_at: Timestamp::default(),
            message_id: Uuid::nil(),
            via: Vec::new(),
            queued_at: Timestamp::default(),
        }
    }

    fn ids(queue: &LaneQueue) -> Vec<i64> {
        queue.ready.iter().map(|waiting| waiting.forward.id).collect()
    }

    fn send(queue: &mut LaneQueue, packet_id: u16) {
        let waiting = queue.take_next().unwrap();
        queue.sent(packet_id, waiting);
    }

    #[test]
    fn after_the_end_of_a_connection_everything_unacknowledged_is_first_and_in_order() {
        let mut queue = LaneQueue::new();
        queue.add((1..=6).map(|id| row(id, "a")).collect());
        for packet_id in 11..=14 {
            send(&mut queue, packet_id);
        }
        assert_eq!(queue.answered(12).unwrap().forward.id, 2);
        queue.finish(2);
        assert!(queue.answered(99).is_none());
        let mut held = queue.held();
        held.sort_unstable();
        assert_eq!((held, queue.in_flight().0), (vec![1, 3, 4, 5, 6], 3));
        assert_eq!(queue.connection_ended(), (Some(1), 3));
        assert_eq!(ids(&queue), [1, 3, 4, 5, 6]);
        assert_eq!(queue.ready.iter().filter(|waiting| waiting.was_sent).count(), 3);
        assert_eq!((queue.in_flight(), queue.take_finished()), ((0, 0), vec![2]));
    }

    #[test]
    fn messages_that_were_committed_late_come_before_those_with_higher_numbers() {
        let mut queue = LaneQueue::new();
        queue.add(vec![row(5, "a"), row(6, "a")]);
        queue.add(vec![row(3, "b"), row(7, "b")]);
        assert_eq!(ids(&queue), [3, 5, 6, 7]);
        let first = queue.take_next().unwrap();
        queue.put_back(first);
        assert_eq!(ids(&queue), [3, 5, 6, 7]);
        let left_out = queue.leave_out_topic("a");
        assert_eq!(left_out.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [5, 6]);
        assert_eq!((ids(&queue), queue.ready_bytes), (vec![3, 7], 2 * (2 + 1 + RAW_BYTES)));
    }

    #[test]
    fn what_is_read_ahead_is_bounded_in_messages_and_bytes() {
        let mut queue = LaneQueue::new();
        assert_eq!(queue.room(20), 128, "as many as fit, at the usual size");
        let large = QueuedForward { payload: vec![0; 1 << 20].into(), ..row(1, "a") };
        queue.add(vec![large.clone(), large.clone(), large.clone()]);
        assert!(queue.room(1000) <= 20, "{}", queue.room(1000));
        queue.add(vec![large.clone(), large]);
        assert_eq!(queue.room(1000), 0);
        let mut small = LaneQueue::new();
        while small.room(1000) > 0 {
            let rows = small.room(1000);
            small.add((0..i64::try_from(rows).unwrap()).map(|id| row(id, "a")).collect());
        }
        assert!((READY_MOST / 2..=READY_MOST).contains(&small.ready.len()));
    }

    #[test]
    fn the_bytes_of_a_message_count_its_properties() {
        for mode in [ForwardMode::Raw, ForwardMode::Binary, ForwardMode::Structured] {
            let row = QueuedForward {
                tenant: "acme".into(),
                device: "pump-1".into(),
                via: vec!["north".into(), "south".into()],
                mode,
                ..row(7, "devices/pump-1/messages")
            };
            let source = EventSource {
                sequence: row.id,
                tenant: &row.tenant,
                device: &row.device,
                msg_type: &row.msg_type,
                mode,
                payload: &row.payload,
                time: row.time,
                message_id: row.message_id,
                via: &row.via,
            };
            let event = write(&source, "plant-17");
            // Each property has five bytes besides its texts, and the packet about fifteen.
            let properties = event.user_property_bytes() + 5 * event.user_properties.len();
            let texts = row.topic.len() + event.content_type.len() + event.payload.len();
            let real = texts + properties + 15;
            let counted = packet_bytes(&row);
            assert!((real..real + 160).contains(&counted), "{mode:?}: {counted} for {real}");
        }
    }
}
