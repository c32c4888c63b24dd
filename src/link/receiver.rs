//! Takes in what another broker delivers over a link: each message becomes a delivery of the spine,
//! and passes there all checks that a device's message passes.
//!
//! In reading order: [`addressing`] finds the device by the ingest rules, [`translation`] makes the
//! delivery. This file holds what is between the socket and the spine: a bounded list, which the lane
//! hands over while it serves its connection.
//!
//! The lane calls [`LinkReceiver::connecting`] before CONNECT, [`LinkReceiver::connected`] after
//! CONNACK, [`LinkReceiver::take`] for each message while [`LinkReceiver::has_room`],
//! [`LinkReceiver::hand_over`] in its `select!`, [`LinkReceiver::acknowledged`] when it writes
//! acknowledgements, and [`LinkReceiver::connection_ended`]. It acknowledges nothing itself: the writer
//! returns the token after the commit.

pub(crate) mod addressing;
#[cfg(test)]
mod tests;
pub(crate) mod translation;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::broker::session::backlog::SessionBacklog;
use crate::broker::session::inflight::Inflight;
use crate::broker::session::resumed_identifiers::ResumedIdentifiers;
use crate::domain::link::LinkName;
use crate::domain::message::{AckToken, Delivery};
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Clock;
use crate::link::settings::IngestRule;
use crate::telemetry::broker::BrokerMetrics;
use crate::telemetry::link_ingest::LinkIngestMetrics;
use translation::{Arrived, Translation};

/// Chunks of messages between the links and the spine. The queue is apart from that of the local
/// broker, so that a flood from a link does not delay the messages of devices.
pub const LINK_QUEUE: usize = 8;

/// Most messages of a chunk. The spine takes chunks of the local broker and of links in turn.
const CHUNK: usize = 256;

/// Most messages that wait for the spine. It is above the window of the other broker at QoS 1, so that
/// only a flood at QoS 0 stops the lane from reading: answers and pings are on the same connection.
const MOST_WAITING: usize = 1024;

/// The spine has ended: no message can be taken any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spine has ended")]
pub struct SpineEnded;

/// What a receiver needs besides its link.
#[derive(Clone, Debug)]
pub struct ReceiverContext {
    /// The name of this installation.
    pub node: Arc<str>,
    /// To the spine.
    pub deliveries: mpsc::Sender<Vec<Delivery>>,
    /// Its queue depth counts the messages of links, too.
    pub broker_metrics: BrokerMetrics,
    /// Counts what comes in, after the commit; the receiver begins the series of its link.
    pub metrics: LinkIngestMetrics,
    /// The time.
    pub clock: Clock,
}

/// The incoming half of a link, over all its connections.
#[derive(Debug)]
pub struct LinkReceiver {
    translation: Translation,
    context: ReceiverContext,
    /// Messages that the spine has not taken yet.
    waiting: Vec<WaitingDelivery>,
    /// Bytes of the waiting messages at QoS 0.
    at_most_once: usize,
    inflight: Inflight,
    resumed: ResumedIdentifiers,
    backlog: SessionBacklog,
}

/// A message that waits.
#[derive(Debug)]
struct WaitingDelivery {
    delivery: Delivery,
    bytes: usize,
}

// === impl LinkReceiver ===

impl LinkReceiver {
    /// A receiver of `link` with these rules.
    pub fn new(link: LinkName, rules: &[IngestRule], context: ReceiverContext) -> Self {
        context.metrics.start(&link);
        Self {
            translation: Translation::new(link, rules, Arc::clone(&context.node)),
            context,
            waiting: Vec::new(),
            at_most_once: 0,
            inflight: Inflight::default(),
            resumed: ResumedIdentifiers::default(),
            backlog: SessionBacklog::default(),
        }
    }

    /// The filters to subscribe to, each once.
    pub fn filters(&self) -> Vec<String> {
        self.translation.filters()
    }

    /// CONNECT is about to be written.
    pub fn connecting(&mut self) {
        self.resumed.connecting();
    }

    /// CONNACK has arrived.
    pub fn connected(&mut self, session_present: bool) {
        self.backlog.connected((self.context.clock)(), session_present);
        if !session_present {
            self.resumed.forget();
        }
    }

    /// Takes a message. It stays here until [`Self::hand_over`] has room at the spine.
    pub fn take(&mut self, message: RemoteMessage) {
        let bytes = held_bytes(&message);
        let packet_id = message.ack.as_ref().map(|ack| ack.packet_id);
        let redelivered = packet_id.is_some_and(|id| self.resumed.check_resent(id, message.dup));
        let held_since = self.backlog.held_since(message.received_at);
        match packet_id {
            Some(packet_id) => self.inflight.record_received(packet_id, bytes),
            None => self.at_most_once += bytes,
        }
        let arrived = Arrived { held_since, redelivered };
        let delivery = self.translation.delivery(message, arrived);
        self.waiting.push(WaitingDelivery { delivery, bytes });
    }

    /// Whether the lane may read further messages. If not, the other broker waits; acknowledgements of
    /// this side's messages wait with it.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING && !self.inflight.is_over_budget(self.at_most_once)
    }

    /// Hands one chunk of the waiting messages to the spine; pending while there are none. A cancelled call has
    /// handed over nothing.
    pub async fn hand_over(&mut self) -> Result<(), SpineEnded> {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        let deliveries = self.context.deliveries.clone();
        let permit = deliveries.reserve().await.map_err(|_| SpineEnded)?;
        let number = self.waiting.len().min(CHUNK);
        let (mut all, mut at_most_once) = (0, 0);
        let mut chunk = Vec::with_capacity(number);
        for WaitingDelivery { delivery, bytes } in self.waiting.drain(..number) {
            all += bytes;
            at_most_once += if delivery.ack.is_none() { bytes } else { 0 };
            chunk.push(delivery);
        }
        self.at_most_once -= at_most_once;
        self.inflight.record_enqueued(all, at_most_once);
        let messages = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        self.context.broker_metrics.queue_depth.add(messages);
        permit.send(chunk);
        Ok(())
    }

    /// Records that these acknowledgements are written.
    pub fn acknowledged(&mut self, tokens: &[AckToken]) {
        for token in tokens {
            self.inflight.acknowledged(token.packet_id);
        }
        self.update();
    }

    /// Records how far it is behind; due every two seconds.
    pub fn update(&mut self) {
        let deliveries = &self.context.deliveries;
        self.inflight.set_queue_len(deliveries.max_capacity() - deliveries.capacity());
        let is_caught_up = self.waiting.is_empty() && self.inflight.unacked() < CHUNK;
        self.backlog.update((self.context.clock)(), is_caught_up);
    }

    /// The connection has ended. Messages that the spine has not taken are dropped: the other broker
    /// delivers those with an acknowledgement again.
    pub fn connection_ended(&mut self) {
        let waited = self.waiting.len();
        self.waiting.retain(|waiting| waiting.delivery.ack.is_none());
        let dropped = waited - self.waiting.len();
        let unacknowledged = self.inflight.connection_ended(dropped);
        self.resumed.connection_ended(unacknowledged);
    }
}

// --- private helpers ---

/// Bytes of memory that a message holds: a slice of its packet holds all of it, also the properties that
/// are not used.
fn held_bytes(message: &RemoteMessage) -> usize {
    let properties = message.user_properties.iter().map(|(name, value)| name.len() + value.len());
    let others = message.content_type.as_deref().map_or(0, str::len)
        + message.correlation.as_ref().map_or(0, bytes::Bytes::len);
    message.topic.len() + message.payload.len() + properties.sum::<usize>() + others
}
