//! Publishing at full speed: packets that are encoded once, patched in place, and sent many at a time.
//!
//! For the simulator and for nobody else: it does not pace, and it does not connect again.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::MqttStream;
use crate::broker::transport::outgoing::{self, unsendable};
use crate::broker::transport::packets::Incoming;
use crate::config::sections::broker::BrokerConfig;

/// Bytes that are gathered before they are written.
const WRITE_AT: usize = 64 * 1024;

/// MQTT 5: nobody had subscribed to the message's topic.
const NO_SUBSCRIBER: u8 = 0x10;

/// A PUBLISH as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Packet {
    bytes: Box<[u8]>,
    payload_at: usize,
}

/// What the sender wants to know of a message when it is answered.
pub type Note = [u64; 2];

/// What the broker said of a QoS 1 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerAnswer {
    /// What the message was noted as.
    pub note: Note,
    /// What the broker did.
    pub fate: PublishOutcome,
}

/// What the broker did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It has it.
    Taken,
    /// It has it, and nobody to give it to.
    Unheard,
    /// It refused it, by its access rules or limits.
    Refused,
}

/// A connection for such packets.
pub struct FastPublisher {
    link: MqttStream,
    outbox: BytesMut,
    incoming: Vec<Incoming>,
    /// By packet identifier, modulo their number, which is at least the window's.
    notes: Vec<Note>,
    window: usize,
    unanswered: usize,
    packet_id: u16,
    qos: QoS,
}

// === impl Packet ===

impl Packet {
    /// Encodes a message for [`FastPublisher::push`] on a connection of the same QoS.
    pub fn new(topic: &str, payload: &[u8], at_least_once: bool) -> Result<Self, BrokerError> {
        let mut packet = Publish::new(topic, qos(at_least_once), payload.to_vec(), None);
        packet.pkid = 1;
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes).map_err(unsendable)?;
        let payload_at = bytes.len() - payload.len();
        Ok(Self { bytes: bytes.as_ref().into(), payload_at })
    }

    /// The payload, to be patched.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.payload_at..]
    }

    /// The bytes that go out, under this packet identifier. It stands before the empty property list.
    fn stamped(&mut self, packet_id: u16) -> &[u8] {
        let end = self.payload_at - 1;
        self.bytes[end - 2..end].copy_from_slice(&packet_id.to_be_bytes());
        &self.bytes
    }
}

// === impl Volley ===

impl FastPublisher {
    /// Connects with the address, TLS, client id and login of `config`; at most `window` QoS 1 messages are unanswered.
    pub async fn connect(config: &BrokerConfig, window: u16, at_least_once: bool) -> Result<Self, BrokerError> {
        let connect = outgoing::publisher_connect(config)?;
        let mut link = MqttStream::open(config).await?;
        let mut incoming = Vec::new();
        let welcome = link.introduce(&connect, &mut incoming).await?;
        let window = usize::from(window.min(welcome.receive_maximum.unwrap_or(u16::MAX)).max(1));
        let notes = vec![[0; 2]; window.next_power_of_two()];
        let (outbox, qos) = (BytesMut::with_capacity(2 * WRITE_AT), qos(at_least_once));
        Ok(Self { link, outbox, incoming, notes, window, unanswered: 0, packet_id: 0, qos })
    }

    /// How many messages may be pushed before an answer must be heard.
    pub fn room(&self) -> usize {
        self.window - self.unanswered
    }

    /// How many messages wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Puts a message behind the others; says whether it is time to [`Self::flush`]. `note` comes back with its answer.
    pub fn push(&mut self, packet: &mut Packet, note: Note) -> bool {
        if self.qos == QoS::AtMostOnce {
            self.outbox.extend_from_slice(&packet.bytes);
        } else {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            let place = usize::from(self.packet_id) & (self.notes.len() - 1);
            self.notes[place] = note;
            self.unanswered += 1;
            self.outbox.extend_from_slice(packet.stamped(self.packet_id));
        }
        self.outbox.len() >= WRITE_AT
    }

    /// Writes what was pushed.
    pub async fn flush(&mut self) -> Result<(), BrokerError> {
        let written = if self.outbox.is_empty() { Ok(()) } else { self.link.write(&self.outbox).await };
        self.outbox.clear();
        written
    }

    /// Waits for answers and takes all that are there. Cancelling it loses none.
    pub async fn hear(&mut self, answers: &mut Vec<BrokerAnswer>) -> Result<(), BrokerError> {
        self.link.drain(&mut self.incoming).await?;
        for packet in self.incoming.drain(..) {
            match packet {
                Incoming::PubAck { packet_id, code } => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    let note = self.notes[usize::from(packet_id) & (self.notes.len() - 1)];
                    answers.push(BrokerAnswer { note, fate: PublishOutcome::of(code) });
                }
                Incoming::Disconnect(farewell) => return Err(BrokerError::Dismissed(farewell)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Says goodbye and waits until the broker has read it all.
    pub async fn close(mut self) -> Result<(), BrokerError> {
        self.flush().await?;
        self.link.close(&outgoing::DISCONNECT).await;
        Ok(())
    }
}

// === impl Fate ===

impl PublishOutcome {
    fn of(code: u8) -> Self {
        match code {
            NO_SUBSCRIBER => Self::Unheard,
            0x80.. => Self::Refused,
            _ => Self::Taken,
        }
    }
}

fn qos(at_least_once: bool) -> QoS {
    if at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::Packet as Read;

    fn read(bytes: &[u8]) -> Publish {
        let mut bytes = BytesMut::from(bytes);
        let Ok(Read::Publish(publish)) = Read::read(&mut bytes, None) else { panic!("no PUBLISH") };
        assert!(bytes.is_empty());
        publish
    }

    #[test]
    fn what_is_patched_is_what_a_broker_reads() {
        for payload in [&b"{\"seq\":0}"[..], &[b' '; 300]] {
            let mut packet = Packet::new("tenant/t/device/d/telemetry", payload, true).unwrap();
            packet.payload_mut()[0] = b'[';
            let publish = read(packet.stamped(0x1234));
            assert_eq!((publish.pkid, publish.qos, publish.payload[0]), (0x1234, QoS::AtLeastOnce, b'['));
            assert_eq!(
                (publish.topic.as_ref(), publish.payload.len()),
                (&b"tenant/t/device/d/telemetry"[..], payload.len())
            );
        }
    }

    #[test]
    fn at_qos_0_the_payload_follows_the_topic() {
        let mut packet = Packet::new("a/b", b"0123", false).unwrap();
        packet.payload_mut()[3] = b'x';
        let publish = read(&packet.bytes);
        assert_eq!((publish.qos, publish.payload.as_ref()), (QoS::AtMostOnce, &b"012x"[..]));
    }
}
