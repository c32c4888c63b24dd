//! A message: as the broker delivered it, and as it is stored.
//!
//! A [`Delivery`] is never cloned: it carries the one right to acknowledge it.

use std::iter::once;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::ids::DeviceKey;
use super::link::{LinkArrival, LinkName};
use super::publisher::Publisher;
use super::redact::secrets;
use super::refusal::Reason;
use super::time::Timestamp;
use super::token::TokenHash;

/// Number of a connection to the broker; increases with each connect, and is unique within a
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The right to acknowledge one message, once, on its own connection. Void after that connection
/// has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct AckToken {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// The packet identifier; unique only among the messages in flight on that connection.
    pub packet_id: u16,
    /// Whether the message has QoS 2: the answer is PUBREC, not PUBACK.
    pub exactly_once: bool,
}

/// One message as the broker delivered it.
#[derive(Debug)]
pub struct Delivery {
    /// The topic; may be invalid UTF-8.
    pub topic: Bytes,
    /// The payload; only its head if `cut_from` is set.
    pub payload: Bytes,
    /// Size of the whole payload, if the packet was over the limit and only its head was kept.
    pub cut_from: Option<usize>,
    /// When the daemon read it from the socket.
    pub received_at: Timestamp,
    /// The earliest time from which the broker may have held it.
    pub held_since: Timestamp,
    /// The broker marks it as sent before (DUP).
    pub dup: bool,
    /// Whether the session has enqueued this message before: the broker sent it on the previous
    /// connection under the same packet identifier, and no acknowledgement was written there.
    pub redelivered: bool,
    /// Whether it may have been delivered before: DUP, or within the first window after a
    /// reconnect.
    pub maybe_repeated: bool,
    /// The right to acknowledge it; `None` at QoS 0.
    pub ack: Option<AckToken>,
    /// Its Correlation Data, if it is short. Boxed: few messages have it.
    pub correlation: Option<Box<Bytes>>,
    /// Who published it.
    pub publisher: Publisher,
    /// Set for a replay from quarantine.
    pub replay: Option<Box<ReplayOrigin>>,
    /// Set for a message from a link.
    pub arrival: Option<Box<LinkArrival>>,
}

/// What quarantine keeps of a message in addition to its redacted payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOrigin {
    /// The hash of the token it carried.
    pub token: Option<TokenHash>,
    /// The `message_id` of the original, computed with its token.
    pub message_id: Uuid,
}

/// A site, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// From the registry, which takes precedence.
    Registered(Arc<str>),
    /// From the message.
    Reported(Bytes),
}

/// One accepted message, as a row of `telemetry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Who sent it.
    pub device: DeviceKey,
    /// The device's time, or the time of receipt.
    pub time: Timestamp,
    /// The time of receipt.
    pub received_at: Timestamp,
    /// The site, if registry or message name one.
    pub site: Option<Site>,
    /// The topic's path after the device (ASCII by the topic grammar).
    pub msg_type: Bytes,
    /// The device's own count.
    pub seq: Option<i64>,
    /// A JSON object, in the bytes as they came.
    pub metrics: Bytes,
    /// Unknown fields as a JSON object, if they are kept.
    pub extra: Option<Bytes>,
    /// 128-bit hash of topic and payload, or the identity of the event.
    pub message_id: Uuid,
    /// The link that it came from; `None`: the local broker.
    pub link: Option<LinkName>,
    /// The certificate that its publisher is proven to have logged in with.
    pub certificate: Option<Uuid>,
}

/// One accepted `shadow/reported`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowReport {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Who sent it.
    pub device: DeviceKey,
    /// The reported state, a JSON object.
    pub reported: Bytes,
    /// The device's version; the newest is kept, and without a version the last to arrive.
    pub version: Option<i64>,
    /// The device's own time.
    pub time: Option<Timestamp>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// One accepted `commands/ack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandAck {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Who sent it.
    pub device: DeviceKey,
    /// Which command.
    pub command_id: Uuid,
    /// What the device says about it.
    pub verdict: CommandVerdict,
    /// A JSON object `{"status": .., "details": ..}` from the device.
    pub details: Bytes,
    /// The device's own time.
    pub time: Option<Timestamp>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// What a device says about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandVerdict {
    /// It is carried out.
    Done,
    /// The device does not carry it out.
    Rejected,
    /// The device tried and failed.
    Failed,
    /// The device has begun; a final verdict follows.
    InProgress,
}

// === impl ConnectionId ===

impl ConnectionId {
    /// Connection `count` of the link with this number within the process.
    pub const fn of_link(link: u32, count: u32) -> Self {
        Self(((link as u64 + 1) << 32) | count as u64)
    }

    /// The number of the link that the connection belongs to; `None`: a connection to the local
    /// broker.
    pub fn link(self) -> Option<u32> {
        let number = (self.0 >> 32).checked_sub(1)?;
        u32::try_from(number).ok()
    }
}

// === impl CommandVerdict ===

impl CommandVerdict {
    /// Reads the status of an acknowledgement. A word of the device's own means that the command is
    /// carried out, as it did before there were verdicts; the word is kept in the details.
    pub fn of_status(status: Option<&str>) -> Self {
        match status {
            Some("rejected") => Self::Rejected,
            Some("failed") => Self::Failed,
            Some("in_progress") => Self::InProgress,
            _ => Self::Done,
        }
    }

    /// The status of the command after it.
    pub const fn command_status(self) -> &'static str {
        match self {
            Self::Done => "ACKNOWLEDGED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
            Self::InProgress => "IN_PROGRESS",
        }
    }

    /// Whether no other verdict follows it.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::InProgress)
    }
}

// === impl Site ===

impl Site {
    /// Its name.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Registered(name) => name.as_bytes(),
            Self::Reported(name) => name,
        }
    }
}

// === impl Delivery ===

impl Delivery {
    /// The link that it came from.
    pub fn link(&self) -> Option<&LinkName> {
        self.arrival.as_ref().map(|arrival| &arrival.link)
    }

    /// Whether its topic is a local one, after a refusal with this reason. A message that a link found no
    /// device for has the topic of the other broker, which may name any tenant.
    pub fn has_local_topic(&self, refused: Reason) -> bool {
        self.arrival.is_none() || refused != Reason::BadTopicFormat
    }

    /// The time of its event.
    pub fn event_time(&self) -> Option<Timestamp> {
        self.arrival.as_ref().and_then(|arrival| arrival.event_time)
    }

    /// Whether it is an event with an identity of its own.
    pub fn is_event(&self) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| arrival.message_id.is_some())
    }

    /// Identifies the message: the hash under which it was quarantined, the identity of its event, or
    /// else the hash of its contents.
    pub fn message_id(&self) -> Uuid {
        if let Some(replay) = &self.replay {
            return replay.message_id;
        }
        let event = self.arrival.as_ref().and_then(|arrival| arrival.message_id);
        event.unwrap_or_else(|| message_id(&self.topic, &self.payload))
    }
}

/// Messages of at most this size are copied and hashed at once: a streaming hash costs more than
/// the copy.
const SMALL: usize = 512;

/// XXH3-128 of topic and payload, with the topic's length, so that the border between them counts.
/// Tokens are left out: otherwise a reader of the hash could test guesses of a token.
fn message_id(topic: &[u8], payload: &[u8]) -> Uuid {
    let seed = topic.len() as u64;
    let cuts = secrets(payload);
    let (starts, ends) = (cuts.iter().map(|cut| cut.0), cuts.iter().map(|cut| cut.1));
    let parts = once(0)
        .chain(ends)
        .zip(starts.chain(once(payload.len())))
        .map(|(from, to)| &payload[from..to]);
    let parts = once(topic).chain(parts);
    let hash = if topic.len() + payload.len() <= SMALL {
        let mut whole: SmallVec<[u8; SMALL]> = SmallVec::new();
        parts.for_each(|part| whole.extend_from_slice(part));
        xxh3_128_with_seed(&whole, seed)
    } else {
        let mut hasher = Xxh3::with_seed(seed);
        parts.for_each(|part| hasher.update(part));
        hasher.digest128()
    };
    Uuid::from_u128(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_distinguishes_messages_but_not_their_tokens() {
        let name = |payload: &str| message_id(b"tenant/t/device/d/telemetry", payload.as_bytes());
        assert_eq!(
            name(r#"{"a":1,"provision_token":"x"}"#),
            name(r#"{"a":1,"provision_token":"yy"}"#)
        );
        assert_ne!(
            name(r#"{"a":1,"provision_token":"x"}"#),
            name(r#"{"a":2,"provision_token":"x"}"#)
        );
        assert_ne!(
            message_id(b"ab", b"c"),
            message_id(b"a", b"bc"),
            "the border between topic and payload counts"
        );
    }

    proptest! {
        /// Rows of earlier versions have hashes that were computed in pieces.
        #[test]
        fn the_id_is_the_same_for_a_copied_and_a_streamed_message(
            topic in prop::collection::vec(any::<u8>(), 1..200), before in "[a-z{}\\[\\]:, ]{0,400}", after in "[0-9,]{0,400}",
        ) {
            let name = |parts: &[&[u8]]| {
                let mut hasher = Xxh3::with_seed(topic.len() as u64);
                for part in parts {
                    hasher.update(part);
                }
                Uuid::from_u128(hasher.digest128())
            };
            let plain = format!("{before}{after}");
            prop_assert_eq!(message_id(&topic, plain.as_bytes()), name(&[&topic, plain.as_bytes()]));
            let secret = format!("{before}\"provision_token\":\"x\"{after}");
            let head = format!("{before}\"provision_token\":");
            prop_assert_eq!(message_id(&topic, secret.as_bytes()), name(&[&topic, head.as_bytes(), after.as_bytes()]));
        }
    }
}
