//! What another broker grants to one connection: its CONNACK, with MQTT's defaults for what it leaves
//! out.
//!
//! It compares nothing with what was requested.

use crate::broker::transport::malformed::Malformed;
use crate::broker::transport::packets::ConnAck;

/// What CONNACK grants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of CONNACK")]
pub struct RemoteGrants {
    /// Whether the broker kept the session of this client id.
    pub session_present: bool,
    /// Most messages without an acknowledgement; at least 1.
    pub receive_maximum: u16,
    /// The largest packet it accepts; `None`: no limit.
    pub maximum_packet: Option<u32>,
    /// The highest QoS it accepts.
    pub max_qos: u8,
    /// Whether it retains messages.
    pub retain: bool,
    /// The keepalive that it sets, in seconds.
    pub server_keep_alive: Option<u16>,
    /// How long it keeps the session, in seconds.
    pub session_expiry: u32,
    /// How many topic aliases it accepts. Sluice uses none.
    pub topic_alias_maximum: u16,
    /// The client id that it assigned.
    pub assigned_client_id: Option<String>,
    /// Whether it accepts `+` and `#`.
    pub wildcard: bool,
    /// Whether it accepts `$share/`.
    pub shared: bool,
    /// Its reason text.
    pub reason: Option<String>,
}

// === impl RemoteGrants ===

impl RemoteGrants {
    /// Reads an accepted CONNACK; `requested_expiry` holds for a session if CONNACK has none.
    ///
    /// A Receive Maximum of 0 is no valid value and counts as 1. With a Maximum Packet Size of 0 no
    /// packet could be sent, which is an error.
    pub fn of(connack: &ConnAck, requested_expiry: u32) -> Result<Self, Malformed> {
        if connack.maximum_packet == Some(0) {
            return Err(Malformed::Body(2));
        }
        Ok(Self {
            session_present: connack.session_present,
            receive_maximum: connack.receive_maximum.unwrap_or(u16::MAX).max(1),
            maximum_packet: connack.maximum_packet,
            max_qos: connack.abilities.max_qos,
            retain: connack.abilities.retained,
            server_keep_alive: connack.server_keep_alive,
            session_expiry: connack.session_expiry.unwrap_or(requested_expiry),
            topic_alias_maximum: connack.topic_alias_maximum,
            assigned_client_id: connack.assigned_client_id.clone(),
            wildcard: connack.abilities.wildcards,
            shared: connack.abilities.shared,
            reason: connack.reason.clone(),
        })
    }
}
