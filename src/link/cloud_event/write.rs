//! Writes a forwarded message as a CloudEvent in binary mode or in structured mode, or as it is.
//!
//! In binary mode and raw the payload is unchanged, byte for byte.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use uuid::Uuid;

use super::nodes::{NODES, join};
use super::{JSON, SPEC_VERSION, STRUCTURED_JSON};
use crate::domain::base64_text;
use crate::domain::exchange::{OutgoingMessage, PublishTopic};
use crate::domain::link::ForwardMode;
use crate::domain::time::Timestamp;

/// Digits of `sequence`: it sorts as text in the order of the lane.
const SEQUENCE_DIGITS: usize = 20;

/// A message to forward.
#[derive(Clone, Debug)]
pub struct EventSource<'a> {
    /// Its id in `link_outbox`.
    pub sequence: i64,
    /// The tenant.
    pub tenant: &'a str,
    /// The device.
    pub device: &'a str,
    /// The path of the local topic after the device.
    pub msg_type: &'a str,
    /// How it is encoded.
    pub mode: ForwardMode,
    /// The payload.
    pub payload: &'a Bytes,
    /// The time of the row.
    pub time: Timestamp,
    /// The identifier of the row.
    pub message_id: Uuid,
    /// The nodes that it passed before this one.
    pub via: &'a [Box<str>],
}

/// A message as it goes out, without its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The payload.
    pub payload: Bytes,
    /// The Content Type.
    pub content_type: &'static str,
    /// The User Properties.
    pub user_properties: Vec<(&'static str, String)>,
}

/// Encodes a message that leaves the installation `node`.
pub fn write(source: &EventSource<'_>, node: &str) -> EncodedEvent {
    let nodes = (NODES, join(source.via, node));
    match source.mode {
        ForwardMode::Raw => EncodedEvent {
            payload: source.payload.clone(),
            content_type: JSON,
            user_properties: vec![nodes],
        },
        ForwardMode::Binary => {
            let mut user_properties = attributes(source, node);
            user_properties.push(nodes);
            EncodedEvent { payload: source.payload.clone(), content_type: JSON, user_properties }
        }
        ForwardMode::Structured => {
            let mut attributes = attributes(source, node);
            attributes.push(nodes);
            EncodedEvent {
                payload: structured(&attributes, source.payload),
                content_type: STRUCTURED_JSON,
                user_properties: Vec::new(),
            }
        }
    }
}

// === impl EncodedEvent ===

impl EncodedEvent {
    /// The message to publish.
    pub fn at(self, topic: PublishTopic) -> OutgoingMessage {
        OutgoingMessage {
            content_type: Some(self.content_type),
            user_properties: self.user_properties,
            ..OutgoingMessage::json(topic, self.payload)
        }
    }

    /// Bytes of the names and values of its User Properties.
    pub fn user_property_bytes(&self) -> usize {
        self.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

// === private helpers ===

fn attributes(source: &EventSource<'_>, node: &str) -> Vec<(&'static str, String)> {
    let EventSource { tenant, device, msg_type, .. } = source;
    vec![
        ("specversion", SPEC_VERSION.to_owned()),
        ("id", source.message_id.to_string()),
        ("source", format!("/sluice/{node}/{tenant}/{device}")),
        ("type", format!("io.sluice.telemetry.{msg_type}")),
        ("subject", format!("tenant/{tenant}/device/{device}/{msg_type}")),
        ("time", source.time.to_string()),
        ("sequence", format!("{:0width$}", source.sequence, width = SEQUENCE_DIGITS)),
    ]
}

/// The event as one JSON object; the payload is embedded as it came.
fn structured(attributes: &[(&'static str, String)], payload: &Bytes) -> Bytes {
    let mut event = String::with_capacity(payload.len() + 512);
    event.push('{');
    for (name, value) in attributes {
        // A `String` takes every write.
        let _ = write!(event, "\"{name}\":{},", Value::from(value.as_str()));
    }
    match std::str::from_utf8(payload).ok().filter(|text| is_json(text)) {
        Some(text) => {
            let _ = write!(event, "\"datacontenttype\":\"{JSON}\",\"data\":{text}}}");
        }
        None => {
            let _ = write!(event, "\"data_base64\":\"{}\"}}", base64_text::encode(payload));
        }
    }
    event.into()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
