//! What Sluice receives and publishes outside the spine: requests of devices and callers, and
//! messages to them.
//!
//! It validates one thing, the topic of an outgoing message: Mosquitto ends the connection of a client
//! that publishes to a topic with a wildcard, with a control character, or with too many levels.

use std::time::Duration;

use bytes::Bytes;

use super::message::ConnectionId;
use super::time::Timestamp;

/// Longest topic that Sluice publishes to because a request names it, in bytes.
pub const MAX_RESPONSE_TOPIC: usize = 256;

/// Longest Correlation Data that a response repeats, in bytes.
pub const MAX_CORRELATION: usize = 256;

/// Most `/` of a topic: Mosquitto ends the connection of a client that publishes to a topic with
/// more.
const MAX_SEPARATORS: usize = 200;

/// A PUBLISH on a request topic, as the broker delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMessage {
    /// The topic; may be invalid UTF-8.
    pub topic: Bytes,
    /// The payload; only its head if `cut_from` is set.
    pub payload: Bytes,
    /// Size of the whole payload, if only its head was kept.
    pub cut_from: Option<usize>,
    /// Whether the broker had retained it: it may be old, and arrives again with each subscription.
    pub is_retained: bool,
    /// What is left of its Message Expiry Interval.
    pub expires_in: Option<Duration>,
    /// Its Response Topic, unchecked.
    pub response_topic: Option<Bytes>,
    /// Its Correlation Data.
    pub correlation: Option<Bytes>,
    /// Its encoded properties, which may hold the proof of its publisher.
    pub properties: Bytes,
    /// When it was read from the socket.
    pub received_at: Timestamp,
    /// The connection it arrived on.
    pub connection: ConnectionId,
}

/// A topic without wildcards, that a PUBLISH may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishTopic(String);

/// Why a text is no topic for a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishTopicError {
    /// No bytes.
    #[error("the topic is empty")]
    Empty,
    /// Longer than MQTT's strings.
    #[error("the topic has more than 65535 bytes")]
    TooLong,
    /// `+`, `#` or NUL.
    #[error("the topic contains +, # or NUL")]
    Wildcard,
    /// Characters that the broker does not accept in a text.
    #[error("the topic contains a control character")]
    Control,
    /// More levels than Mosquitto accepts.
    #[error("the topic has more than 201 levels")]
    TooDeep,
    /// `$SYS`, `$share` and others belong to the broker.
    #[error("the topic begins with $")]
    Reserved,
}

/// A message that Sluice publishes outside the spine, at QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// Where it goes.
    pub topic: PublishTopic,
    /// Empty with `is_retained`: removes the retained message.
    pub payload: Bytes,
    /// Whether the broker keeps it for later subscribers.
    pub is_retained: bool,
    /// Its Message Expiry Interval in seconds.
    pub expires_in: Option<u32>,
    /// Content Type; a text payload also sets the Payload Format Indicator.
    pub content_type: Option<&'static str>,
    /// Its Response Topic.
    pub response_topic: Option<PublishTopic>,
    /// Its Correlation Data.
    pub correlation: Option<Bytes>,
    /// User Properties.
    pub user_properties: Vec<(&'static str, String)>,
}

/// What became of an outgoing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeOutcome {
    /// The broker has it (PUBACK below 0x80). It is no proof of delivery to a device.
    Accepted,
    /// The broker refused it: the code of PUBACK, 0x80 or above.
    Refused(u8),
    /// The connection ended before PUBACK: the broker may have it or not.
    Unknown,
}

/// Whether a text of MQTT may contain the character: Mosquitto ends the connection of a client that
/// sends a control character or a code point that is no character.
pub fn is_text(character: char) -> bool {
    let code = u32::from(character);
    !character.is_control() && !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
}

/// PUBACK: the access rules do not permit the topic.
pub const NOT_AUTHORIZED: u8 = 0x87;

// === impl PublishTopic ===

impl PublishTopic {
    /// Checks a topic.
    pub fn new(text: impl Into<String>) -> Result<Self, PublishTopicError> {
        let text = text.into();
        if text.is_empty() {
            return Err(PublishTopicError::Empty);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(PublishTopicError::TooLong);
        }
        if text.contains(['+', '#', '\0']) {
            return Err(PublishTopicError::Wildcard);
        }
        if !text.chars().all(is_text) {
            return Err(PublishTopicError::Control);
        }
        if text.bytes().filter(|&byte| byte == b'/').count() > MAX_SEPARATORS {
            return Err(PublishTopicError::TooDeep);
        }
        if text.starts_with('$') {
            return Err(PublishTopicError::Reserved);
        }
        Ok(Self(text))
    }

    /// Checks a topic at another broker: AWS has topics below `$aws/` that a client publishes to.
    pub fn at_other_broker(text: impl Into<String>) -> Result<Self, PublishTopicError> {
        let text = text.into();
        match text.strip_prefix("$aws/") {
            Some(rest) => Self::new(rest).map(|_| Self(text)),
            None => Self::new(text),
        }
    }

    /// A topic that is built from valid names.
    pub(super) const fn of_valid(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PublishTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl OutgoingMessage ===

impl OutgoingMessage {
    /// A JSON message that is not retained.
    pub fn json(topic: PublishTopic, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            is_retained: false,
            expires_in: None,
            content_type: Some("application/json"),
            response_topic: None,
            correlation: None,
            user_properties: Vec::new(),
        }
    }

    /// An empty retained message: the broker forgets the one it has retained for the topic.
    pub fn clear(topic: PublishTopic) -> Self {
        Self { content_type: None, is_retained: true, ..Self::json(topic, Bytes::new()) }
    }

    /// Lets the broker keep it for later subscribers.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { is_retained: true, ..self }
    }

    /// Lets the broker drop it after `seconds`.
    #[must_use]
    pub fn expiring(self, seconds: u32) -> Self {
        Self { expires_in: Some(seconds), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_would_end_the_connection_is_refused() {
        for (text, why) in [
            ("", PublishTopicError::Empty),
            ("tenant/+/x", PublishTopicError::Wildcard),
            ("#", PublishTopicError::Wildcard),
            ("a\0b", PublishTopicError::Wildcard),
            ("$SYS/a", PublishTopicError::Reserved),
            ("$share/g/a", PublishTopicError::Reserved),
            ("a\nb", PublishTopicError::Control),
            ("a\u{9f}b", PublishTopicError::Control),
            ("a\u{fdd0}b", PublishTopicError::Control),
            ("a\u{1fffe}b", PublishTopicError::Control),
            (&"/".repeat(201), PublishTopicError::TooDeep),
        ] {
            assert_eq!(PublishTopic::new(text), Err(why), "{text}");
        }
        assert!(PublishTopic::at_other_broker("$aws/rules/r/a").is_ok());
        for (text, why) in [
            ("$aws/", PublishTopicError::Empty),
            ("$aws/a/#", PublishTopicError::Wildcard),
            ("$SYS/a", PublishTopicError::Reserved),
            ("$aws", PublishTopicError::Reserved),
        ] {
            assert_eq!(PublishTopic::at_other_broker(text), Err(why), "{text}");
        }
        assert!(PublishTopic::new("/".repeat(200)).is_ok());
        assert_eq!(PublishTopic::new("x".repeat(65_536)), Err(PublishTopicError::TooLong));
        assert_eq!(PublishTopic::new("coa-response").unwrap().as_str(), "coa-response");
    }

    #[test]
    fn a_cleared_topic_is_an_empty_retained_message_without_a_content_type() {
        let message = OutgoingMessage::clear(PublishTopic::new("a/b").unwrap());
        assert!(message.is_retained && message.payload.is_empty());
        assert_eq!(message.content_type, None);
    }
}
