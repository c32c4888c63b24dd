//! What the demo's devices publish: a message, the tenant it belongs to, and whether the broker
//! should accept it.
//!
//! It knows neither devices nor faults.

use bytes::Bytes;
use serde_json::{Map, Value};

/// The tenant of the demo's devices; no real tenant has this name.
pub const TENANT: &str = "sluice-demo";

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoMessage {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
}

/// What the broker's access rules should allow a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It publishes on its own topics, which is allowed.
    Own,
    /// The registry does not let it publish: the broker may refuse its messages or leave that to
    /// Sluice.
    Unclear,
    /// It publishes on another device's topics, which is forbidden.
    Foreign,
}

/// Encodes `fields` as the payload of a message.
pub(super) fn encode(topic: String, fields: Map<String, Value>) -> DemoMessage {
    DemoMessage { topic, payload: Value::Object(fields).to_string().into() }
}
