//! Makes a delivery of a message of another broker: its device by the rules, its payload and identity
//! by its event.
//!
//! It refuses nothing itself: a fault travels with the delivery, so that the message is quarantined in
//! its order and acknowledged after the commit. A message that has passed this installation already,
//! and one of a topic that begins with `$`, is ignored in the same way.

use std::sync::Arc;

use bytes::Bytes;

use super::addressing::{Address, AddressFault, address};
use crate::domain::link::{LinkArrival, LinkName};
use crate::domain::message::Delivery;
use crate::domain::publisher::Publisher;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Timestamp;
use crate::link::cloud_event::fault::EventFault;
use crate::link::cloud_event::read::{EventParts, needs_whole_payload, read};
use crate::link::settings::IngestRule;

/// The rules of one link, and what it is called.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    link: LinkName,
    rules: Vec<IngestRule>,
    node: Arc<str>,
}

/// Where a message goes, and what it says.
struct Translated {
    topic: Bytes,
    payload: Bytes,
    arrival: LinkArrival,
}

/// What the receiver knows of a message besides its contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// The earliest time from which the other broker may have held it.
    pub held_since: Timestamp,
    /// Whether it was handed over on an earlier connection.
    pub redelivered: bool,
}

// === impl Translation ===

impl Translation {
    pub(crate) fn new(link: LinkName, rules: &[IngestRule], node: Arc<str>) -> Self {
        Self { link, rules: rules.to_vec(), node }
    }

    /// The filters to subscribe to, each once.
    pub(crate) fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> = Vec::new();
        for rule in &self.rules {
            if !filters.contains(&rule.filter) {
                filters.push(rule.filter.clone());
            }
        }
        filters
    }

    /// The delivery of a message.
    pub(crate) fn delivery(&self, message: RemoteMessage, arrived: Arrived) -> Delivery {
        let Translated { topic, payload, arrival } = self.translate(&message);
        Delivery {
            topic,
            payload,
            cut_from: message.cut_from,
            received_at: message.received_at,
            held_since: arrived.held_since,
            dup: message.dup,
            redelivered: arrived.redelivered,
            maybe_repeated: message.dup,
            ack: message.ack,
            correlation: None,
            publisher: Publisher::Missing,
            replay: None,
            arrival: Some(Box::new(arrival)),
        }
    }

    fn translate(&self, message: &RemoteMessage) -> Translated {
        let address = address(&self.rules, &message.topic);
        let rule = address.as_ref().ok().map(|address| address.rule);
        let event = read_event(message, rule.is_some_and(|rule| rule.lenient));
        let is_own =
            event.as_ref().is_ok_and(|event| event.via.iter().any(|node| **node == *self.node));
        let is_ignored = is_own || message.topic.first() == Some(&b'$');
        let refusal = self.refusal(&address, &event);
        let topic =
            address.map_or_else(|_| message.topic.clone(), |Address { topic, .. }| topic.into());
        let event = event.unwrap_or_else(|_| EventParts::plain(message.payload.clone()));
        let EventParts { data, identity, time, via } = event;
        let payload = if refusal.is_some() { message.payload.clone() } else { data };
        let arrival = LinkArrival {
            link: self.link.clone(),
            event_time: time,
            message_id: identity,
            via,
            is_ignored,
            refusal,
        };
        Translated { topic, payload, arrival }
    }

    fn refusal(
        &self,
        address: &Result<Address<'_>, AddressFault>,
        event: &Result<EventParts, EventFault>,
    ) -> Option<Refusal> {
        match (address, event) {
            (Err(fault), _) => Some(self.refuse(Reason::BadTopicFormat, fault)),
            (Ok(_), Err(fault)) => Some(self.refuse(Reason::BadPayload, fault)),
            (Ok(_), Ok(_)) => None,
        }
    }

    fn refuse(&self, reason: Reason, fault: &dyn std::fmt::Display) -> Refusal {
        LinkArrival::refusal_of(&self.link, reason, fault)
    }
}

// --- private helpers ---

/// Only the head of a message over the limit is here: it is refused because of its size.
fn read_event(message: &RemoteMessage, lenient: bool) -> Result<EventParts, EventFault> {
    if message.cut_from.is_some() && needs_whole_payload(message) {
        return Ok(EventParts::plain(message.payload.clone()));
    }
    read(message, lenient)
}
