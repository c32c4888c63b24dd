//! What the exchange subscribes to, and the broker's answers.
//!
//! The marker comes first: no request arrives before it is known whether the broker retains it. It
//! does not decide what a refusal means.

use bytes::{Bytes, BytesMut};

use super::needed_writes::NeededWrite;
use crate::broker::error::BrokerError;
use crate::broker::transport::outgoing;
use crate::config::sections::broker::{BrokerConfig, SHARE_PREFIX};
use crate::domain::exchange::PublishTopic;

/// The packet identifier of the marker's SUBSCRIBE.
pub const MARKER_SUBSCRIPTION: u16 = 1;

/// The packet identifier of the first SUBSCRIBE to requests. Those of PUBLISH begin far above.
const FIRST_REQUESTS: u16 = 2;

/// SUBACK codes from this one on mean a refusal.
const REFUSED: u8 = 0x80;

/// What the exchange subscribes to, and what it must be able to publish.
#[derive(Clone, Debug, Default)]
pub struct ExchangeSubscriptions {
    /// Filters of requests, without the share group. Without any, the exchange connects when a
    /// handle has a message.
    pub requests: Vec<String>,
    /// Topic of a message that Sluice itself retains.
    pub marker: Option<PublishTopic>,
    /// What is published; what an API requires is tried at each connect.
    pub writes: Vec<NeededWrite>,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub struct OpenSubscriptions {
    filters: Vec<String>,
    marker_topic: Option<PublishTopic>,
    marker: MarkerState,
    /// Indexes of filters whose SUBACK is outstanding.
    unanswered: Vec<usize>,
    has_requested: bool,
}

/// What is known of the marker.
#[derive(Debug, PartialEq, Eq)]
enum MarkerState {
    /// SUBACK is outstanding.
    Subscribing,
    /// Subscribed; the message may still arrive.
    Awaited,
    /// Its content; `None`: there is none.
    Known(Option<Bytes>),
}

/// The meaning of a SUBACK.
#[derive(Debug, PartialEq, Eq)]
pub enum SubscriptionAnswer {
    /// Granted.
    Granted(String),
    /// Refused, with the code.
    Refused(String, u8),
    /// No SUBSCRIBE of this connection has that packet identifier.
    Foreign,
}

// === impl ExchangeSubscriptions ===

impl ExchangeSubscriptions {
    /// The filters as the broker receives them. Replicas share requests, so that each request has one
    /// answer.
    fn filters(&self, config: &BrokerConfig) -> Vec<String> {
        let shared = |filter: &String| match &config.share_group {
            Some(group) => format!("{SHARE_PREFIX}{group}/{filter}"),
            None => filter.clone(),
        };
        self.requests.iter().map(shared).collect()
    }
}

// === impl OpenSubscriptions ===

impl OpenSubscriptions {
    /// Nothing is subscribed yet.
    pub fn new(wanted: &ExchangeSubscriptions, config: &BrokerConfig) -> Self {
        let marker = match &wanted.marker {
            Some(_) => MarkerState::Subscribing,
            None => MarkerState::Known(None),
        };
        Self {
            filters: wanted.filters(config),
            marker_topic: wanted.marker.clone(),
            marker,
            unanswered: Vec::new(),
            has_requested: false,
        }
    }

    /// The first SUBSCRIBE: to the marker, or if there is none to all requests.
    pub fn begin(&mut self) -> Result<BytesMut, BrokerError> {
        match &self.marker_topic {
            Some(topic) => outgoing::exchange_subscribe(MARKER_SUBSCRIPTION, topic.as_str(), true),
            None => self.next_subscribe(),
        }
    }

    /// SUBSCRIBE to all requests, once the marker is known; else no bytes.
    pub fn next_subscribe(&mut self) -> Result<BytesMut, BrokerError> {
        if self.has_requested || self.is_marker_open() {
            return Ok(BytesMut::new());
        }
        self.has_requested = true;
        self.subscribe(|_| true)
    }

    /// Records a SUBACK.
    pub fn answered(&mut self, packet_id: u16, codes: &[u8]) -> SubscriptionAnswer {
        let code = codes.first().copied().unwrap_or(REFUSED);
        let filter = if packet_id == MARKER_SUBSCRIPTION && self.marker == MarkerState::Subscribing
        {
            self.marker =
                if code < REFUSED { MarkerState::Awaited } else { MarkerState::Known(None) };
            self.marker_topic.as_ref().map(|topic| topic.as_str().to_owned())
        } else {
            let index = usize::from(packet_id.wrapping_sub(FIRST_REQUESTS));
            let place = self.unanswered.iter().position(|&unanswered| unanswered == index);
            place.map(|place| self.filters[self.unanswered.swap_remove(place)].clone())
        };
        match filter {
            None => SubscriptionAnswer::Foreign,
            Some(filter) if code < REFUSED => SubscriptionAnswer::Granted(filter),
            Some(filter) => SubscriptionAnswer::Refused(filter, code),
        }
    }

    /// Whether a message with this topic is the marker.
    pub fn is_marker(&self, topic: &[u8]) -> bool {
        self.marker_topic.as_ref().is_some_and(|marker| marker.as_str().as_bytes() == topic)
    }

    /// Records the marker. An empty message means that there is none.
    pub fn marker_arrived(&mut self, content: Bytes) {
        self.marker = MarkerState::Known(Some(content).filter(|content| !content.is_empty()));
    }

    /// Records that the marker has not arrived in time.
    pub fn give_up_marker(&mut self) {
        if self.is_marker_open() {
            self.marker = MarkerState::Known(None);
        }
    }

    /// Whether the marker may still arrive.
    pub fn is_marker_open(&self) -> bool {
        !matches!(self.marker, MarkerState::Known(_))
    }

    /// Whether the subscription to the marker is granted and its message has not arrived.
    pub fn is_marker_awaited(&self) -> bool {
        self.marker == MarkerState::Awaited
    }

    /// The broker answered a PINGREQ that was sent after the marker was subscribed: had it retained
    /// the marker, the marker would have come first. True if that ends the wait.
    pub fn pong(&mut self) -> bool {
        let ends = self.is_marker_awaited();
        if ends {
            self.marker = MarkerState::Known(None);
        }
        ends
    }

    /// The content of the marker.
    pub fn marker(&self) -> Option<Bytes> {
        match &self.marker {
            MarkerState::Known(content) => content.clone(),
            _ => None,
        }
    }

    /// Whether a SUBACK is outstanding.
    pub fn is_subscribing(&self) -> bool {
        self.marker == MarkerState::Subscribing || !self.unanswered.is_empty()
    }

    /// Whether the broker has answered every SUBSCRIBE.
    pub fn is_complete(&self) -> bool {
        self.has_requested && self.unanswered.is_empty()
    }

    /// SUBSCRIBE again to the requests that the broker has refused.
    pub fn retry(&mut self, is_refused: impl Fn(&str) -> bool) -> Result<BytesMut, BrokerError> {
        self.subscribe(is_refused)
    }

    fn subscribe(&mut self, is_due: impl Fn(&str) -> bool) -> Result<BytesMut, BrokerError> {
        let mut packets = BytesMut::new();
        for (index, packet_id) in (0..self.filters.len()).zip(FIRST_REQUESTS..) {
            let filter = &self.filters[index];
            if is_due(filter) && !self.unanswered.contains(&index) {
                packets.extend(outgoing::exchange_subscribe(packet_id, filter, false)?);
                self.unanswered.push(index);
            }
        }
        Ok(packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_ends_the_wait_for_the_marker_only_once_its_subscription_is_granted() {
        let mut subscriptions = OpenSubscriptions {
            filters: Vec::new(),
            marker_topic: PublishTopic::new("sluice/outbox").ok(),
            marker: MarkerState::Subscribing,
            unanswered: Vec::new(),
            has_requested: false,
        };
        assert!(!subscriptions.pong(), "the answer to an earlier PINGREQ");
        subscriptions.answered(MARKER_SUBSCRIPTION, &[1]);
        assert!(subscriptions.is_marker_awaited());
        assert!(subscriptions.pong());
        assert!(!subscriptions.is_marker_open() && subscriptions.marker().is_none());
        assert!(!subscriptions.pong());
    }
}
