//! Splits a stream of arbitrary bytes into MQTT 5 packets.
//!
//! It does no IO. Only an invalid fixed header or an unreadable control packet is an error; a
//! PUBLISH never is. Its properties are kept unread; the exchange reads them
//! ([`super::publish_properties`]). A PUBLISH beyond the limit is cut: its head is kept, the rest
//! dropped as it arrives.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, DisconnectProperties};

use super::malformed::Malformed;
use crate::domain::quarantine_sampling::QUARANTINE_PAYLOAD_MAX;

/// Bytes kept of a PUBLISH over the limit: a topic has at most 64 KiB, properties rarely as many,
/// and quarantine keeps only this much of the payload.
pub(super) const CUT_KEEP: usize = QUARANTINE_PAYLOAD_MAX + 2 * 65_536;

/// Most bytes kept of a broker's reason text.
const REASON_MAX: usize = 200;

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Publish(Publish),
    /// A PUBLISH without a readable topic or packet identifier; it was skipped.
    Unreadable,
    /// The answer to CONNECT.
    ConnAck(ConnAck),
    /// The answer to SUBSCRIBE: one code for each filter.
    SubAck {
        /// That of the SUBSCRIBE.
        packet_id: u16,
        /// 0 to 2: the granted QoS; 0x80 and above: refused.
        codes: Vec<u8>,
    },
    /// The answer to UNSUBSCRIBE: one code for each filter.
    UnsubAck {
        /// That of the UNSUBSCRIBE.
        packet_id: u16,
        /// 0x80 and above: refused.
        codes: Vec<u8>,
    },
    /// The answer to a QoS 1 PUBLISH.
    PubAck {
        /// That of the PUBLISH.
        packet_id: u16,
        /// 0x80 and above: refused.
        code: u8,
        /// The broker's reason text.
        reason: Option<String>,
    },
    /// The answer to PUBREC.
    PubRel {
        /// That of the message.
        packet_id: u16,
    },
    /// The answer to AUTH.
    Auth {
        /// 0: the token is accepted; 0x18: another step is required.
        code: u8,
    },
    /// The answer to PINGREQ.
    PingResp,
    /// The broker ends the connection.
    Disconnect(DisconnectReason),
}

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The topic; may be invalid UTF-8.
    pub topic: Bytes,
    /// The payload, or its head when `cut_from` is set.
    pub payload: Bytes,
    /// The size of the whole payload, when it was cut.
    pub cut_from: Option<usize>,
    /// 0 to 2.
    pub qos: u8,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// Whether the broker marks it as sent before.
    pub dup: bool,
    /// Whether the broker marks it as retained.
    pub retain: bool,
    /// The encoded properties; empty if there are none.
    pub properties: Bytes,
    /// Whether its property list is unreadable; the payload then holds all that follows the packet
    /// identifier.
    pub malformed: bool,
}

/// The answer to CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the broker kept the session.
    pub session_present: bool,
    /// 0: accepted.
    pub code: u8,
    /// The broker's reason text.
    pub reason: Option<String>,
    /// The server that the broker names in place of itself.
    pub server: Option<String>,
    /// The keepalive that the broker sets, in seconds.
    pub server_keep_alive: Option<u16>,
    /// Most unacknowledged QoS 1 messages that the broker accepts.
    pub receive_maximum: Option<u16>,
    /// The largest packet that the broker accepts, in bytes.
    pub maximum_packet: Option<u32>,
    /// How long the broker keeps the session, in seconds, if it decides that.
    pub session_expiry: Option<u32>,
    /// How many topic aliases the broker accepts.
    pub topic_alias_maximum: u16,
    /// The client id that the broker assigns to a client without one.
    pub assigned_client_id: Option<String>,
    /// Its features.
    pub abilities: Abilities,
}

/// Features of a broker; those it does not mention are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The highest QoS it supports.
    pub max_qos: u8,
    /// Retained messages.
    pub retained: bool,
    /// `+` and `#` in filters.
    pub wildcards: bool,
    /// `$share/`.
    pub shared: bool,
}

/// Why the broker ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisconnectReason {
    /// The reason code.
    pub code: u8,
    /// The broker's reason text.
    pub reason: Option<String>,
    /// The server that the broker names in place of itself.
    pub server: Option<String>,
}

/// Splits the stream at the packet borders.
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    /// Bytes of a cut PUBLISH still to be dropped.
    dropping: usize,
}

/// A fixed header.
struct Head {
    first: u8,
    len: usize,
    body: usize,
}

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREL: u8 = 6;
const SUBACK: u8 = 9;
const UNSUBACK: u8 = 11;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

// === impl Splitter ===

impl Splitter {
    /// Packets of more than `limit` bytes are cut (PUBLISH) or refused (all others).
    pub fn new(limit: usize) -> Self {
        Self { limit, dropping: 0 }
    }

    /// Whether bytes of a cut PUBLISH are still to come.
    pub const fn is_dropping(&self) -> bool {
        self.dropping > 0
    }

    /// Moves all complete packets from `inbox` to `out`; the start of the next one stays in
    /// `inbox`.
    pub fn split(
        &mut self,
        inbox: &mut BytesMut,
        out: &mut Vec<Incoming>,
    ) -> Result<(), Malformed> {
        loop {
            let dropped = self.dropping.min(inbox.len());
            inbox.advance(dropped);
            self.dropping -= dropped;
            let Some(head) = read_head(inbox)? else { return Ok(()) };
            let size = head.len + head.body;
            let kind = head.first >> 4;
            if size > self.limit && kind != PUBLISH {
                return Err(Malformed::Size(kind));
            }
            let kept = if size > self.limit { head.body.min(CUT_KEEP) } else { head.body };
            if inbox.len() < head.len + kept {
                return Ok(());
            }
            let mut body = inbox.split_to(head.len + kept).freeze();
            body.advance(head.len);
            self.dropping = head.body - kept;
            out.push(if kind == PUBLISH {
                publish(head.first, body, self.dropping, size > self.limit)
            } else {
                control(kind, body)?
            });
        }
    }
}

// === impl DisconnectReason ===

impl DisconnectReason {
    fn read(mut body: Bytes) -> Self {
        let code = take_u8(&mut body).unwrap_or(0);
        let (reason, server) = match DisconnectProperties::extract(&mut body).ok().flatten() {
            Some(given) => (given.reason_string, given.server_reference),
            None => (None, None),
        };
        Self { code, reason: reason.map(shown), server: server.map(shown) }
    }
}

// === impl ConnAck ===

impl ConnAck {
    /// A broker of MQTT 3.1.1 answers with two bytes and no properties; its code must be readable
    /// too.
    fn read(mut body: Bytes) -> Option<Self> {
        let flags = take_u8(&mut body)?;
        let code = take_u8(&mut body)?;
        let Some(given) = ConnAckProperties::read(&mut body).ok().flatten() else {
            return Some(Self { session_present: flags & 1 == 1, code, ..Self::default() });
        };
        Some(Self {
            session_present: flags & 1 == 1,
            code,
            server_keep_alive: given.server_keep_alive,
            receive_maximum: given.receive_max,
            maximum_packet: given.max_packet_size,
            session_expiry: given.session_expiry_interval,
            topic_alias_maximum: given.topic_alias_max.unwrap_or_default(),
            abilities: Abilities::from(&given),
            assigned_client_id: given.assigned_client_identifier,
            reason: given.reason_string.map(shown),
            server: given.server_reference.map(shown),
        })
    }
}

// === impl Abilities ===

impl Default for Abilities {
    fn default() -> Self {
        Self { max_qos: 2, retained: true, wildcards: true, shared: true }
    }
}

impl From<&ConnAckProperties> for Abilities {
    fn from(given: &ConnAckProperties) -> Self {
        let can = |value: Option<u8>| value != Some(0);
        Self {
            max_qos: given.max_qos.unwrap_or(2),
            retained: can(given.retain_available),
            wildcards: can(given.wildcard_subscription_available),
            shared: can(given.shared_subscription_available),
        }
    }
}

// --- private helpers ---

/// The fixed header, if it is complete.
fn read_head(inbox: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some((&first, rest)) = inbox.split_first() else { return Ok(None) };
    match variable_length(rest) {
        Ok((body, used)) => Ok(Some(Head { first, len: 1 + used, body })),
        Err(()) if rest.len() < 4 => Ok(None),
        Err(()) => Err(Malformed::Length),
    }
}

/// A variable byte integer and its number of bytes.
fn variable_length(bytes: &[u8]) -> Result<(usize, usize), ()> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err(())
}

/// Reads a PUBLISH of which `missing` bytes at the end are not kept.
fn publish(first: u8, mut body: Bytes, missing: usize, cut: bool) -> Incoming {
    let qos = (first >> 1) & 3;
    let Some(topic_len) = take_u16(&mut body).map(usize::from) else { return Incoming::Unreadable };
    if qos == 3 || topic_len > body.len() {
        return Incoming::Unreadable;
    }
    let topic = body.split_to(topic_len);
    let packet_id = match qos {
        0 => 0,
        _ => match take_u16(&mut body) {
            Some(packet_id) => packet_id,
            None => return Incoming::Unreadable,
        },
    };
    let whole = body.len() + missing;
    let (malformed, before_payload) = match variable_length(&body) {
        Ok((properties, used)) if used + properties <= whole => (false, used + properties),
        _ => (true, 0),
    };
    let properties = take_properties(&mut body, before_payload);
    let cut_from = cut.then_some(whole - before_payload);
    Incoming::Publish(Publish {
        topic,
        payload: body,
        cut_from,
        qos,
        packet_id,
        dup: first & 8 != 0,
        retain: first & 1 != 0,
        properties,
        malformed,
    })
}

/// Cuts the property list, which ends before the payload, from the body. Most messages have none.
fn take_properties(body: &mut Bytes, before_payload: usize) -> Bytes {
    if before_payload <= 1 {
        body.advance(before_payload);
        return Bytes::new();
    }
    let mut list = body.split_to(before_payload.min(body.len()));
    let used = variable_length(&list).map_or(0, |(_, used)| used);
    list.advance(used);
    list
}

fn control(kind: u8, mut body: Bytes) -> Result<Incoming, Malformed> {
    let packet = match kind {
        CONNACK => ConnAck::read(body).map(Incoming::ConnAck),
        PUBACK => take_u16(&mut body).map(|packet_id| {
            let code = take_u8(&mut body).unwrap_or_default();
            Incoming::PubAck { packet_id, code, reason: reason_string(body) }
        }),
        PUBREL => take_u16(&mut body).map(|packet_id| Incoming::PubRel { packet_id }),
        SUBACK => codes(body).map(|(packet_id, codes)| Incoming::SubAck { packet_id, codes }),
        UNSUBACK => codes(body).map(|(packet_id, codes)| Incoming::UnsubAck { packet_id, codes }),
        PINGRESP => Some(Incoming::PingResp),
        DISCONNECT => Some(Incoming::Disconnect(DisconnectReason::read(body))),
        // Without a body it means success.
        AUTH => Some(Incoming::Auth { code: take_u8(&mut body).unwrap_or_default() }),
        _ => return Err(Malformed::Type(kind)),
    };
    packet.ok_or(Malformed::Body(kind))
}

/// The reason text in the properties of an acknowledgement, which rarely has any.
fn reason_string(mut body: Bytes) -> Option<String> {
    DisconnectProperties::extract(&mut body).ok().flatten()?.reason_string.map(shown)
}

/// Contents of SUBACK and UNSUBACK: the packet identifier, skipped properties, and the codes.
fn codes(mut body: Bytes) -> Option<(u16, Vec<u8>)> {
    let packet_id = take_u16(&mut body)?;
    let (properties, used) = variable_length(&body).ok()?;
    let codes = body.get(used + properties..)?.to_vec();
    Some((packet_id, codes))
}

fn take_u8(body: &mut Bytes) -> Option<u8> {
    body.try_get_u8().ok()
}

fn take_u16(body: &mut Bytes) -> Option<u16> {
    body.try_get_u16().ok()
}

/// The broker's text, shortened and on one line for the log.
fn shown(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_MAX));
    text.retain(|character| !character.is_control());
    text
}
