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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exchange::PublishTopic;
    use crate::link::file;

    const AWS: &str = "[link.aws]\nkind = 'aws-iot'\nhost = 'x-ats.iot.us-east-1.amazonaws.com'\n\
        client_id = 'c'\nauth = 'certificate'\ncert = '/c'\nkey = '/k'\n";

    fn checked(message: &OutgoingMessage) -> Result<(), DeadLetterCause> {
        let settings = file::parse(AWS).unwrap().links.remove(0);
        check(&settings, message).map_err(|letter| letter.reason)
    }

    fn message(topic: &str, payload: usize) -> OutgoingMessage {
        OutgoingMessage::json(PublishTopic::at_other_broker(topic).unwrap(), vec![b'x'; payload])
    }

    #[test]
    fn what_is_exactly_at_a_limit_is_sent_and_one_more_is_a_dead_letter() {
        let payload = 128 * 1024;
        assert_eq!(checked(&message("a", payload)), Ok(()));
        assert_eq!(checked(&message("a", payload + 1)), Err(DeadLetterCause::TooLarge));
        for (topic, is_sent) in [("x".repeat(256), true), ("x".repeat(257), false)] {
            let expected = if is_sent { Ok(()) } else { Err(DeadLetterCause::BadTopic) };
            assert_eq!(checked(&message(&topic, 1)), expected, "{} bytes", topic.len());
        }
        assert_eq!(checked(&message("1/2/3/4/5/6/7/8", 1)), Ok(()));
        assert_eq!(checked(&message("1/2/3/4/5/6/7/8/9", 1)), Err(DeadLetterCause::BadTopic));
        let with = |length: usize| OutgoingMessage {
            user_properties: vec![("a", "x".repeat(length - 1 - PROPERTY_OVERHEAD))],
            ..message("a", 1)
        };
        assert_eq!(checked(&with(8 * 1024)), Ok(()));
        assert_eq!(checked(&with(8 * 1024 + 1)), Err(DeadLetterCause::TooLarge));
    }
}
