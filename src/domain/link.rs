//! Names of links, and what becomes of a message because of them: where it is forwarded to, and which
//! link it came from.
//!
//! It knows no cloud and no connection.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::refusal::{Reason, Refusal};
use super::time::Timestamp;

/// Longest name of a link, in bytes: it is a label of metrics.
pub const MAX_LINK_NAME: usize = 32;

/// The name of a link: 1 to 32 of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(Arc<str>);

/// A text is no name of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a link has 1 to 32 characters of a-z 0-9 -")]
pub struct LinkNameError;

/// What a link knows of a message that came from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkArrival {
    /// The link.
    pub link: LinkName,
    /// The time of its event; it stands in for a missing `ts`.
    pub event_time: Option<Timestamp>,
    /// The identity of its event; `None`: the hash of topic and payload, as for a device.
    pub message_id: Option<Uuid>,
    /// The nodes that forwarded it, the last one last.
    pub via: Vec<Box<str>>,
    /// It has passed this installation already, or its topic belongs to the other broker: it is
    /// neither stored nor quarantined.
    pub is_ignored: bool,
    /// Why the message is refused before its payload is read: it is a broken event, or its rule finds
    /// no device.
    pub refusal: Option<Refusal>,
}

/// What becomes of a message from a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    /// Accepted by all checks.
    Accepted,
    /// Refused: it is in quarantine, or counted there.
    Refused,
    /// Of a type that the platform itself publishes.
    Ignored,
    /// Dropped: it has passed this installation already, or its topic belongs to the other broker.
    Own,
}

/// One accepted message that waits to be sent over one link: a row of `link_outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// The link.
    pub link: LinkName,
    /// The lane: messages of one device have one lane, and a lane keeps the order.
    pub lane: i16,
    /// The topic at the other broker.
    pub topic: String,
    /// The tenant.
    pub tenant: Box<str>,
    /// The device.
    pub device: Box<str>,
    /// How it is encoded.
    pub mode: ForwardMode,
    /// The path of the local topic after the device.
    pub msg_type: Bytes,
    /// The payload without its token.
    pub payload: Bytes,
    /// The time of the row.
    pub time: Timestamp,
    /// When Sluice received it.
    pub received_at: Timestamp,
    /// The hash that identifies it.
    pub message_id: Uuid,
    /// The nodes that it passed before this one.
    pub via: Vec<Box<str>>,
    /// Whether `telemetry` has all of it, so that it can be read back after the backlog was full.
    pub is_refillable: bool,
    /// The most payload bytes that may wait for the link.
    pub backlog_max_bytes: u64,
}

/// How a forwarded message is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardMode {
    /// A CloudEvent in the user properties; the payload is unchanged.
    Binary,
    /// A CloudEvent as JSON.
    Structured,
    /// The payload alone.
    Raw,
}

/// The seed of [`event_identity`]: no hash of a topic and a payload has it, since its seed is the
/// length of the topic.
const EVENT_SEED: u64 = 0x636c_6f75_6465_7674;

/// The `message_id` of an event: its source and id, hashed, as a UUID of version 8.
pub fn event_identity(source: &str, id: &str) -> Uuid {
    let mut hasher = Xxh3::with_seed(EVENT_SEED);
    hasher.update(&(source.len() as u64).to_le_bytes());
    hasher.update(source.as_bytes());
    hasher.update(id.as_bytes());
    uuid::Builder::from_custom_bytes(hasher.digest128().to_be_bytes()).into_uuid()
}

/// Whether a `message_id` of a message from a link looks like [`event_identity`].
pub fn is_event_identity(message_id: Uuid) -> bool {
    message_id.get_version_num() == 8 && message_id.get_variant() == uuid::Variant::RFC4122
}

// === impl LinkOutcome ===

impl LinkOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Ignored, Self::Own];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Ignored => "ignored",
            Self::Own => "own",
        }
    }
}

// === impl LinkArrival ===

impl LinkArrival {
    /// The refusal of a message that its link cannot translate. Its detail begins with the link, so that
    /// a replay finds it again: nothing that an operator can correct makes such a message valid.
    pub fn refusal_of(link: &LinkName, reason: Reason, fault: &dyn fmt::Display) -> Refusal {
        Refusal::new(reason, format!("link {link}: {fault}"))
    }

    /// A message from `link` that was quarantined with this refusal and is replayed.
    pub fn replayed(
        link: LinkName,
        event_time: Option<Timestamp>,
        message_id: Uuid,
        refused: Refusal,
    ) -> Self {
        let is_untranslated = refused.detail.starts_with(&format!("link {link}: "));
        Self {
            link,
            event_time,
            message_id: is_event_identity(message_id).then_some(message_id),
            via: Vec::new(),
            is_ignored: false,
            refusal: is_untranslated.then_some(refused),
        }
    }
}

// === impl LinkName ===

impl LinkName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = LinkNameError;

    fn from_str(text: &str) -> Result<Self, LinkNameError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=MAX_LINK_NAME).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(LinkNameError)
        }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl ForwardMode ===

impl ForwardMode {
    /// Its name in the links file and in `link_outbox`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
            Self::Raw => "raw",
        }
    }

    /// The mode with this name.
    pub fn of_label(text: &str) -> Option<Self> {
        [Self::Binary, Self::Structured, Self::Raw].into_iter().find(|mode| mode.label() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_an_event_is_its_source_and_id() {
        assert_eq!(event_identity("/a", "1"), event_identity("/a", "1"));
        assert_ne!(event_identity("/a", "1"), event_identity("/a", "2"));
        assert_ne!(event_identity("/a1", ""), event_identity("/a", "1"), "the border counts");
        assert!(is_event_identity(event_identity("/a", "1")));
        assert!(!is_event_identity(Uuid::from_u128(7)));
    }

    #[test]
    fn a_name_is_a_short_word_that_a_label_may_have() {
        for text in ["azure", "aws-2", &"a".repeat(32)] {
            assert_eq!(text.parse::<LinkName>().unwrap().as_str(), text);
        }
        for text in ["", "Azure", "a b", "a_b", "a/b", "ä", &"a".repeat(33)] {
            assert_eq!(text.parse::<LinkName>(), Err(LinkNameError), "{text}");
        }
    }
}
