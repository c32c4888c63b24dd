//! What a sender of a link reads of the outbox, and why a message ends as a dead letter.
//!
//! It reads no table and sends nothing.

use bytes::Bytes;
use uuid::Uuid;

use super::link::ForwardMode;
use super::time::Timestamp;

/// A message that waits to be sent: a row of `link_outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedForward {
    /// Its order within the lane.
    pub id: i64,
    /// The lane.
    pub lane: i16,
    /// The tenant.
    pub tenant: Box<str>,
    /// The device.
    pub device: Box<str>,
    /// The path of the local topic after the device.
    pub msg_type: Box<str>,
    /// The topic at the other broker.
    pub topic: String,
    /// How it is encoded.
    pub mode: ForwardMode,
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
    /// When it was put into the outbox.
    pub queued_at: Timestamp,
}

/// Why a message ended as a dead letter: a row of `link_refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterReason {
    /// The reason.
    pub reason: DeadLetterCause,
    /// The reason code of the other broker; `None`: Sluice refused it before sending.
    pub code: Option<u8>,
    /// The reason in words.
    pub detail: String,
}

/// The reasons of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetterCause {
    /// The packet or the payload is larger than the other broker accepts.
    TooLarge,
    /// The topic is longer or deeper than the other broker accepts, or invalid there.
    BadTopic,
    /// The other broker does not let this link publish to the topic.
    NotAuthorized,
    /// The other broker refused it with another code.
    Refused,
    /// The other broker closes the connection on it.
    ClosesConnection,
    /// It waited longer than `backlog_max_age`.
    Expired,
}

// === impl DeadLetterCause ===

impl DeadLetterCause {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::BadTopic,
        Self::NotAuthorized,
        Self::Refused,
        Self::ClosesConnection,
        Self::Expired,
    ];

    /// Its name in the table, in metrics and in the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "TOO_LARGE",
            Self::BadTopic => "BAD_TOPIC",
            Self::NotAuthorized => "NOT_AUTHORIZED",
            Self::Refused => "REFUSED",
            Self::ClosesConnection => "CLOSES_CONNECTION",
            Self::Expired => "EXPIRED",
        }
    }

    /// The reason with this name.
    pub fn of_label(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.label() == text)
    }
}
