//! Messages that a connection has received and not yet enqueued, with their receipt time and the
//! facts that tell a redelivery apart.
//!
//! It parses no topic and no payload, and it does not wait for the queue.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::backlog::{MANY_PACKETS, next_receipt};
use super::inflight::Inflight;
use super::resumed_identifiers::ResumedIdentifiers;
use super::subscription::SubscriptionMemory;
use crate::broker::transport::packets::Publish;
use crate::broker::transport::publish_properties::PublishProperties;
use crate::domain::exchange::MAX_CORRELATION;
use crate::domain::message::{AckToken, ConnectionId, Delivery};
use crate::domain::publisher::Publisher;
use crate::domain::time::Timestamp;
use crate::telemetry::broker::BrokerMetrics;

/// Received messages of one connection.
pub struct ReceiveBuffer {
    connection: ConnectionId,
    pending: Vec<Delivery>,
    /// Bytes of `pending`.
    bytes: usize,
    /// Bytes of those at QoS 0.
    at_most_once_bytes: usize,
    /// Number of next messages that the broker may have sent before.
    maybe_repeated_left: usize,
    last_receipt: Timestamp,
    /// Since when the broker may have held the messages that are being read.
    held_since: Timestamp,
    /// The last read may have left packets unread.
    read_much: bool,
}

// === impl ReceiveBuffer ===

impl ReceiveBuffer {
    /// An empty buffer. The broker may have sent the first `maybe_repeated` messages before.
    pub fn new(connection: ConnectionId, maybe_repeated: usize) -> Self {
        Self {
            connection,
            pending: Vec::new(),
            bytes: 0,
            at_most_once_bytes: 0,
            maybe_repeated_left: maybe_repeated,
            last_receipt: Timestamp::default(),
            held_since: Timestamp::default(),
            read_much: false,
        }
    }

    /// Starts a read of this many packets. One clock reading serves all of them.
    pub fn start_read(&mut self, packets: usize, now: Timestamp, memory: &mut SubscriptionMemory) {
        self.last_receipt = next_receipt(now, self.last_receipt);
        self.held_since = memory.held_since(self.last_receipt);
        self.read_much = packets >= MANY_PACKETS;
    }

    /// Adds a message. Each gets its own microsecond, which tells equal messages apart.
    pub fn receive(
        &mut self,
        publish: Publish,
        inflight: &mut Inflight,
        resumed: &mut ResumedIdentifiers,
    ) {
        let Publish { topic, payload, cut_from, qos, packet_id, dup, properties, .. } = publish;
        self.last_receipt = Timestamp::from_micros(self.last_receipt.micros() + 1);
        let maybe_repeated = dup || self.maybe_repeated_left > 0;
        self.maybe_repeated_left = self.maybe_repeated_left.saturating_sub(1);
        // The message keeps the memory of its whole packet: a device can fill that with properties.
        let bytes = topic.len() + payload.len() + properties.len();
        self.bytes += bytes;
        let ack = (packet_id != 0).then_some(AckToken {
            connection: self.connection,
            packet_id,
            exactly_once: qos == 2,
        });
        let redelivered = ack.is_some() && resumed.check_resent(packet_id, dup);
        if ack.is_some() {
            inflight.record_received(packet_id, bytes);
        } else {
            self.at_most_once_bytes += bytes;
        }
        self.pending.push(Delivery {
            topic,
            payload,
            cut_from,
            received_at: self.last_receipt,
            held_since: self.held_since,
            dup,
            redelivered,
            maybe_repeated,
            ack,
            correlation: correlation(&properties),
            publisher: Publisher::Unread(properties),
            replay: None,
            arrival: None,
        });
    }

    /// Sends all messages to the queue as one chunk.
    pub fn enqueue(
        &mut self,
        permit: mpsc::Permit<'_, Vec<Delivery>>,
        inflight: &mut Inflight,
        metrics: &BrokerMetrics,
    ) {
        let chunk = std::mem::take(&mut self.pending);
        let bytes = std::mem::take(&mut self.bytes);
        inflight.record_enqueued(bytes, std::mem::take(&mut self.at_most_once_bytes));
        metrics.received.inc_by(chunk.len() as u64);
        metrics.queue_depth.add(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
        permit.send(chunk);
    }

    /// Whether no message waits for the queue.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Number of messages that need an acknowledgement.
    pub fn to_acknowledge(&self) -> usize {
        self.pending.iter().filter(|message| message.ack.is_some()).count()
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the messages at QoS 0.
    pub fn at_most_once_bytes(&self) -> usize {
        self.at_most_once_bytes
    }

    /// Whether the last read may have left packets unread.
    pub fn read_much(&self) -> bool {
        self.read_much
    }
}

/// The Correlation Data, which an error to the device repeats.
fn correlation(properties: &Bytes) -> Option<Box<Bytes>> {
    if properties.is_empty() {
        return None;
    }
    let found = PublishProperties::read(properties).correlation?;
    (found.len() <= MAX_CORRELATION).then(|| Box::new(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_of_a_message_count_among_its_bytes() {
        let mut buffer = ReceiveBuffer::new(ConnectionId(1), 0);
        let (mut inflight, mut resumed) = (Inflight::default(), ResumedIdentifiers::default());
        let publish = Publish {
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from_static(b"{}"),
            cut_from: None,
            qos: 1,
            packet_id: 1,
            dup: false,
            retain: false,
            properties: vec![0x26; 100_000].into(),
            malformed: false,
        };
        for packet_id in 1..=700 {
            let publish = Publish { packet_id, ..publish.clone() };
            buffer.receive(publish, &mut inflight, &mut resumed);
        }
        assert_eq!(buffer.bytes(), 700 * 100_003);
        assert!(inflight.is_over_budget(0), "70 MB are more than may be in flight");
    }
}
