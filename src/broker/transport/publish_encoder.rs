//! Encodes a PUBLISH at QoS 1 with its properties.
//!
//! It refuses what ends the connection at the broker: a packet over the broker's limit, a retained
//! message where the broker retains none, and a QoS that it does not support.

use bytes::{BufMut, BytesMut};

use super::packets::ConnAck;
use crate::domain::exchange::{OutgoingMessage, is_text};

const PUBLISH_QOS_1: u8 = 0x32;
const RETAIN: u8 = 1;

const PAYLOAD_FORMAT: u8 = 1;
const MESSAGE_EXPIRY: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const RESPONSE_TOPIC: u8 = 8;
const CORRELATION_DATA: u8 = 9;
const USER_PROPERTY: u8 = 38;

/// Reason code: the packet is too large.
const PACKET_TOO_LARGE: u8 = 0x95;
/// Reason code: the broker retains no messages.
const RETAIN_NOT_SUPPORTED: u8 = 0x9a;
/// Reason code: the broker does not support the QoS.
const QOS_NOT_SUPPORTED: u8 = 0x9b;

/// Reason code: too many messages wait for an answer.
pub const WINDOW_FULL: u8 = 0x93;

/// Largest packet that four length bytes can describe.
const LARGEST_BODY: usize = 268_435_455;

/// What the broker accepts on one connection.
#[derive(Clone, Copy, Debug)]
pub struct PublishLimits {
    largest_packet: usize,
    can_retain: bool,
    max_qos: u8,
}

/// A message that the broker would refuse, with its reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpublishable(pub u8);

// === impl PublishLimits ===

impl PublishLimits {
    /// The limits that CONNACK announces.
    pub fn of(connack: &ConnAck) -> Self {
        Self {
            largest_packet: connack
                .maximum_packet
                .map_or(LARGEST_BODY, |limit| usize::try_from(limit).unwrap_or(LARGEST_BODY)),
            can_retain: connack.abilities.retained,
            max_qos: connack.abilities.max_qos,
        }
    }

    /// Appends the packet of a message to `out`.
    pub fn encode(
        self,
        message: &OutgoingMessage,
        packet_id: u16,
        out: &mut BytesMut,
    ) -> Result<(), Unpublishable> {
        if self.max_qos == 0 {
            return Err(Unpublishable(QOS_NOT_SUPPORTED));
        }
        if message.is_retained && !self.can_retain {
            return Err(Unpublishable(RETAIN_NOT_SUPPORTED));
        }
        let properties = properties(message).ok_or(Unpublishable(PACKET_TOO_LARGE))?;
        let topic = message.topic.as_str().as_bytes();
        let body = 2
            + topic.len()
            + 2
            + length_of_length(properties.len())
            + properties.len()
            + message.payload.len();
        if body > LARGEST_BODY || 1 + length_of_length(body) + body > self.largest_packet {
            return Err(Unpublishable(PACKET_TOO_LARGE));
        }
        out.reserve(body + 5);
        out.put_u8(PUBLISH_QOS_1 | if message.is_retained { RETAIN } else { 0 });
        put_length(out, body);
        // A topic has at most 65,535 bytes.
        put_text(out, topic).ok_or(Unpublishable(PACKET_TOO_LARGE))?;
        out.put_u16(packet_id);
        put_length(out, properties.len());
        out.put_slice(&properties);
        out.put_slice(&message.payload);
        Ok(())
    }
}

/// A variable byte integer.
pub fn put_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        out.put_u8(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

// --- private helpers ---

/// The property list; `None` if a text is longer than MQTT permits.
fn properties(message: &OutgoingMessage) -> Option<BytesMut> {
    let mut list = BytesMut::new();
    if let Some(content_type) = message.content_type {
        list.put_slice(&[PAYLOAD_FORMAT, u8::from(is_textual(content_type))]);
        list.put_u8(CONTENT_TYPE);
        put_text(&mut list, content_type.as_bytes())?;
    }
    if let Some(seconds) = message.expires_in {
        list.put_u8(MESSAGE_EXPIRY);
        list.put_u32(seconds);
    }
    if let Some(topic) = &message.response_topic {
        list.put_u8(RESPONSE_TOPIC);
        put_text(&mut list, topic.as_str().as_bytes())?;
    }
    if let Some(correlation) = &message.correlation {
        list.put_u8(CORRELATION_DATA);
        put_text(&mut list, correlation)?;
    }
    for (name, value) in &message.user_properties {
        let value: String = value.chars().filter(|&character| is_text(character)).collect();
        list.put_u8(USER_PROPERTY);
        put_text(&mut list, name.as_bytes())?;
        put_text(&mut list, value.as_bytes())?;
    }
    Some(list)
}

/// Whether a payload of this type is UTF-8.
fn is_textual(content_type: &str) -> bool {
    content_type.starts_with("text/") || content_type.contains("json")
}

fn put_text(out: &mut BytesMut, text: &[u8]) -> Option<()> {
    out.put_u16(u16::try_from(text.len()).ok()?);
    out.put_slice(text);
    Some(())
}

const fn length_of_length(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::transport::packets::Abilities;
    use crate::domain::exchange::PublishTopic;
    use bytes::Bytes;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

    fn limits(maximum_packet: Option<u32>, abilities: Abilities) -> PublishLimits {
        PublishLimits::of(&ConnAck { maximum_packet, abilities, ..ConnAck::default() })
    }

    fn topic(text: &str) -> PublishTopic {
        PublishTopic::new(text).unwrap()
    }

    fn read(message: &OutgoingMessage) -> Publish {
        let mut bytes = BytesMut::new();
        limits(None, Abilities::default()).encode(message, 7, &mut bytes).unwrap();
        let Ok(Packet::Publish(publish)) = Packet::read(&mut bytes, None) else {
            panic!("no PUBLISH")
        };
        assert!(bytes.is_empty());
        publish
    }

    #[test]
    fn a_codec_reads_every_part() {
        let message = OutgoingMessage {
            response_topic: Some(topic("a/ack")),
            correlation: Some(Bytes::from_static(b"\0\xff")),
            user_properties: vec![("route", "ti\u{1}me".to_owned())],
            ..OutgoingMessage::json(topic("a/b"), "{}").expiring(60).retained()
        };
        let publish = read(&message);
        assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"a/b"[..], &b"{}"[..]));
        assert_eq!((publish.pkid, publish.qos, publish.retain), (7, QoS::AtLeastOnce, true));
        let properties = publish.properties.unwrap();
        assert_eq!(properties.payload_format_indicator, Some(1));
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(properties.message_expiry_interval, Some(60));
        assert_eq!(properties.response_topic.as_deref(), Some("a/ack"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(properties.user_properties, [("route".to_owned(), "time".to_owned())]);
        let clear = read(&OutgoingMessage::clear(topic("a/b")));
        assert!(clear.retain && clear.payload.is_empty());
    }

    #[test]
    fn the_lengths_are_right_at_each_border() {
        for size in [100, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let message = OutgoingMessage {
                correlation: Some(vec![7; 100.min(size)].into()),
                ..OutgoingMessage::json(topic("a"), vec![b'x'; size])
            };
            assert_eq!(read(&message).payload.len(), size);
        }
    }

    #[test]
    fn a_length_uses_the_fewest_bytes() {
        for (length, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (16_384, &[0x80, 0x80, 1])]
        {
            let mut buffer = BytesMut::new();
            put_length(&mut buffer, length);
            assert_eq!((&buffer[..], length_of_length(length)), (bytes, bytes.len()));
        }
    }

    #[test]
    fn what_would_end_the_connection_is_refused_before_it_is_sent() {
        let message = OutgoingMessage::json(topic("a"), vec![b'x'; 100]);
        let refused = |limits: PublishLimits, message: &OutgoingMessage| {
            let mut bytes = BytesMut::new();
            let refused = limits.encode(message, 1, &mut bytes);
            assert!(refused.is_ok() || bytes.is_empty());
            refused.err().map(|Unpublishable(code)| code)
        };
        let size = {
            let mut bytes = BytesMut::new();
            limits(None, Abilities::default()).encode(&message, 1, &mut bytes).unwrap();
            u32::try_from(bytes.len()).unwrap()
        };
        assert_eq!(refused(limits(Some(size), Abilities::default()), &message), None);
        assert_eq!(
            refused(limits(Some(size - 1), Abilities::default()), &message),
            Some(PACKET_TOO_LARGE)
        );
        let forgetful = Abilities { retained: false, ..Abilities::default() };
        assert_eq!(refused(limits(None, forgetful), &message), None);
        assert_eq!(
            refused(limits(None, forgetful), &message.clone().retained()),
            Some(RETAIN_NOT_SUPPORTED)
        );
        let lossy = Abilities { max_qos: 0, ..Abilities::default() };
        assert_eq!(refused(limits(None, lossy), &message), Some(QOS_NOT_SUPPORTED));
    }
}
