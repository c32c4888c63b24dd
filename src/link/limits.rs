//! What the other broker accepts, known before the first packet: a preset for each kind. The links
//! file and CONNACK lower it, and never raise it.
//!
//! It sends nothing.

use crate::link::kind::LinkKind;

/// What the other broker accepts of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Largest packet, in bytes.
    pub packet_bytes: usize,
    /// Largest payload, in bytes.
    pub payload_bytes: usize,
    /// Highest QoS.
    pub max_qos: u8,
    /// Longest keepalive, in seconds.
    pub keepalive_seconds: u16,
    /// Most messages a second.
    pub rate: u32,
    /// Most bytes a second.
    pub bytes_per_second: u32,
    /// Most messages without an acknowledgement.
    pub unacked: u16,
    /// Most bytes without an acknowledgement.
    pub unacked_bytes: usize,
    /// Longest topic, in bytes.
    pub topic_bytes: usize,
    /// Most levels of a topic.
    pub topic_levels: usize,
    /// Most bytes of all user properties of a message.
    pub user_property_bytes: usize,
    /// Most filters of one SUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Most filters of a session.
    pub filters: usize,
    /// Longest session expiry, in seconds.
    pub session_expiry_seconds: u32,
}

/// Azure Event Grid.
const EVENT_GRID: LinkLimits = LinkLimits {
    packet_bytes: 512 * 1024,
    payload_bytes: 512 * 1024,
    max_qos: 1,
    keepalive_seconds: 1160,
    rate: 1000,
    bytes_per_second: 1024 * 1024,
    unacked: 1000,
    unacked_bytes: 64 * 1024,
    topic_bytes: 256,
    topic_levels: 8,
    user_property_bytes: 32 * 1024,
    filters_per_subscribe: 8,
    filters: 50,
    session_expiry_seconds: 3600,
};

/// AWS IoT Core.
const AWS_IOT: LinkLimits = LinkLimits {
    packet_bytes: 146 * 1024,
    payload_bytes: 128 * 1024,
    max_qos: 1,
    keepalive_seconds: 1200,
    rate: 100,
    bytes_per_second: 512 * 1024,
    unacked: 100,
    unacked_bytes: usize::MAX,
    topic_bytes: 256,
    topic_levels: 8,
    user_property_bytes: 8 * 1024,
    filters_per_subscribe: 8,
    filters: 50,
    session_expiry_seconds: 7 * 86_400,
};

/// Any broker: what MQTT allows.
const MQTT: LinkLimits = LinkLimits {
    packet_bytes: 268_435_460,
    payload_bytes: 268_435_455,
    max_qos: 1,
    keepalive_seconds: u16::MAX,
    rate: u32::MAX,
    bytes_per_second: u32::MAX,
    unacked: 1000,
    unacked_bytes: usize::MAX,
    topic_bytes: 65_535,
    topic_levels: 200,
    user_property_bytes: 65_535,
    filters_per_subscribe: 8,
    filters: 1000,
    session_expiry_seconds: u32::MAX - 1,
};

// === impl LinkLimits ===

impl LinkLimits {
    /// The preset of a kind.
    pub const fn of(kind: LinkKind) -> Self {
        match kind {
            LinkKind::EventGrid => EVENT_GRID,
            LinkKind::AwsIot => AWS_IOT,
            LinkKind::Mqtt => MQTT,
        }
    }
}
