//! Checks a message against the limits of the other broker before it is sent: a client that breaks them
//! is disconnected, not answered.
//!
//! It sends nothing, and it changes no message to make it fit.

use crate::domain::exchange::OutgoingMessage;
use crate::domain::outbox::{DeadLetterCause, DeadLetterReason};
use crate::link::limits::TopicLimit;
use crate::link::settings::LinkSettings;

/// Bytes of a packet besides topic, payload and properties, at most.
const PACKET_OVERHEAD: usize = 20;

/// Bytes of a user property besides its texts.
const PROPERTY_OVERHEAD: usize = 5;

/// Refuses a message that the other broker does not accept.
pub(super) fn check(
    settings: &LinkSettings,
    message: &OutgoingMessage,
) -> Result<(), DeadLetterReason> {
    let limits = &settings.limits;
    let topic = message.topic.as_str();
    limits.check_topic(settings.kind, topic).map_err(|limit| bad_topic(topic, limit))?;
    let payload = message.payload.len();
    if payload > limits.payload_bytes {
        return Err(too_large("payload", payload, limits.payload_bytes));
    }
    let properties = message.user_properties.iter();
    let properties: usize =
        properties.map(|(name, value)| name.len() + value.len() + PROPERTY_OVERHEAD).sum();
    if properties > limits.user_property_bytes {
        return Err(too_large("user properties", properties, limits.user_property_bytes));
    }
    let content_type = message.content_type.map_or(0, str::len);
    let packet = payload + topic.len() + properties + content_type + PACKET_OVERHEAD;
    if packet > limits.packet_bytes {
        return Err(too_large("packet", packet, limits.packet_bytes));
    }
    Ok(())
}

/// The dead letter of a message whose packet the connection cannot carry: its reason code.
pub(super) fn unpublishable(code: u8) -> DeadLetterReason {
    let detail = "the packet is larger than the Maximum Packet Size of the other broker".to_owned();
    DeadLetterReason { reason: DeadLetterCause::TooLarge, code: Some(code), detail }
}

/// The dead letter of a text that is no topic.
pub(super) fn no_topic(why: impl std::fmt::Display) -> DeadLetterReason {
    DeadLetterReason { reason: DeadLetterCause::BadTopic, code: None, detail: why.to_string() }
}

fn bad_topic(topic: &str, limit: TopicLimit) -> DeadLetterReason {
    no_topic(format_args!("{topic}: {limit} by the other broker"))
}

fn too_large(what: &str, found: usize, limit: usize) -> DeadLetterReason {
    let detail = format!("{what}: {found} bytes; the other broker accepts at most {limit}");
    DeadLetterReason { reason: DeadLetterCause::TooLarge, code: None, detail }
}
