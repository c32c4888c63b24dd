//! A message that another broker delivered over a link.
//!
//! Nothing in it is checked.

use std::time::Duration;

use bytes::Bytes;

use super::message::AckToken;
use super::time::Timestamp;

/// A message as the other broker delivered it.
#[derive(Debug)]
pub struct RemoteMessage {
    /// The topic; may be invalid UTF-8.
    pub topic: Bytes,
    /// The payload; only its head if `cut_from` is set.
    pub payload: Bytes,
    /// Size of the whole payload, if only its head was kept.
    pub cut_from: Option<usize>,
    /// Its Content Type.
    pub content_type: Option<String>,
    /// Its User Properties, in order; names may repeat.
    pub user_properties: Vec<(String, String)>,
    /// Its Correlation Data.
    pub correlation: Option<Bytes>,
    /// What is left of its Message Expiry Interval.
    pub expires_in: Option<Duration>,
    /// Whether the broker had retained it.
    pub is_retained: bool,
    /// Whether the broker marks it as sent before (DUP).
    pub dup: bool,
    /// When it was read from the socket; each message has its own microsecond.
    pub received_at: Timestamp,
    /// The right to acknowledge it; `None` at QoS 0.
    pub ack: Option<AckToken>,
}
