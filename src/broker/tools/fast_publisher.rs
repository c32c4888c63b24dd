//! Publishes at full speed: packets are encoded once, patched in place, and sent many at a time. On
//! request it also receives, as a device that waits for responses and commands does.
//!
//! Only for the simulator: it does not pace, and it does not reconnect.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::time::timeout;

use crate::broker::error::BrokerError;
use crate::broker::transport::mqtt_stream::{ANSWER_TIMEOUT, MqttStream};
use crate::broker::transport::outgoing::{self, unsendable};
use crate::broker::transport::packets::{self, Incoming};
use crate::config::sections::broker::BrokerConfig;

/// Bytes that are buffered before a write.
const WRITE_AT: usize = 64 * 1024;

/// The smallest code of a refusal.
const REFUSED: u8 = 0x80;

/// MQTT 5: the topic has no subscriber.
const NO_SUBSCRIBER: u8 = 0x10;

/// An encoded PUBLISH.
#[derive(Clone, Debug)]
pub struct Packet {
    bytes: Box<[u8]>,
    payload_at: usize,
}

/// Data of the sender that comes back with the answer.
pub type Note = [u64; 2];

/// The broker's answer to a QoS 1 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerAnswer {
    /// The sender's note.
    pub note: Note,
    /// The outcome.
    pub outcome: PublishOutcome,
}

/// Outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Accepted.
    Accepted,
    /// Accepted; the topic has no subscriber.
    NoSubscriber,
    /// Refused by access rules or limits.
    Refused,
}

/// A message that arrived on a subscription. Its PUBACK leaves with the next flush.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    /// The topic; may be invalid UTF-8.
    pub topic: Bytes,
    /// The payload.
    pub payload: Bytes,
}

/// A connection for encoded packets.
pub struct FastPublisher {
    link: MqttStream,
    outbox: BytesMut,
    incoming: Vec<Incoming>,
    messages: Vec<ReceivedMessage>,
    /// Notes by packet identifier, modulo their number, which is at least the window.
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

    /// All encoded bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload, for patching.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.payload_at..]
    }

    /// The bytes to send, with this packet identifier, which is before the empty property list.
    fn stamped(&mut self, packet_id: u16) -> &[u8] {
        let end = self.payload_at - 1;
        self.bytes[end - 2..end].copy_from_slice(&packet_id.to_be_bytes());
        &self.bytes
    }
}

// === impl FastPublisher ===

impl FastPublisher {
    /// Connects with the address, TLS, client id and login of `config`; at most `window` QoS 1
    /// messages are unanswered.
    pub async fn connect(
        config: &BrokerConfig,
        window: u16,
        at_least_once: bool,
    ) -> Result<Self, BrokerError> {
        let connect = outgoing::publisher_connect(config)?;
        let mut link = MqttStream::open(config).await?;
        let mut incoming = Vec::new();
        let welcome = link.send_connect(&connect, &mut incoming).await?;
        let window = usize::from(window.min(welcome.receive_maximum.unwrap_or(u16::MAX)).max(1));
        let notes = vec![[0; 2]; window.next_power_of_two()];
        let (outbox, qos) = (BytesMut::with_capacity(2 * WRITE_AT), qos(at_least_once));
        let messages = Vec::new();
        let (unanswered, packet_id) = (0, 0);
        Ok(Self { link, outbox, incoming, messages, notes, window, unanswered, packet_id, qos })
    }

    /// Subscribes at QoS 1, before the first message is pushed. Fails if the broker refuses a
    /// filter.
    pub async fn subscribe(&mut self, filters: &[String]) -> Result<(), BrokerError> {
        for filter in filters {
            self.link.write(&outgoing::inspector_subscribe(filter, false)?).await?;
            let answer = timeout(ANSWER_TIMEOUT, self.suback()).await;
            let late =
                BrokerError::NoAnswer { packet: "SUBSCRIBE", seconds: ANSWER_TIMEOUT.as_secs() };
            let code = answer.unwrap_or(Err(late))?;
            if code >= REFUSED {
                return Err(BrokerError::SubscriptionRefused { filter: filter.clone(), code });
            }
        }
        Ok(())
    }

    /// The messages that have arrived since the last call.
    pub fn take_messages(&mut self) -> Vec<ReceivedMessage> {
        std::mem::take(&mut self.messages)
    }

    /// Number of messages that may be pushed before the next answer.
    pub fn room(&self) -> usize {
        self.window - self.unanswered
    }

    /// Number of unanswered messages.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Appends a message. Returns whether to call [`Self::flush`]. `note` comes back with the
    /// answer.
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

    /// Writes the pushed messages.
    pub async fn flush(&mut self) -> Result<(), BrokerError> {
        let written =
            if self.outbox.is_empty() { Ok(()) } else { self.link.write(&self.outbox).await };
        self.outbox.clear();
        written
    }

    /// Waits for answers and takes all that have arrived. Cancel safe.
    pub async fn receive(&mut self, answers: &mut Vec<BrokerAnswer>) -> Result<(), BrokerError> {
        self.link.drain(&mut self.incoming).await?;
        for packet in std::mem::take(&mut self.incoming) {
            match packet {
                Incoming::PubAck { packet_id, code, .. } => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    let note = self.notes[usize::from(packet_id) & (self.notes.len() - 1)];
                    answers.push(BrokerAnswer { note, outcome: PublishOutcome::of(code) });
                }
                Incoming::Publish(message) => self.take_in(message),
                Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a message, and queues its PUBACK.
    fn take_in(&mut self, message: packets::Publish) {
        if message.qos == 1 {
            self.outbox.extend_from_slice(&outgoing::puback(message.packet_id));
        }
        let packets::Publish { topic, payload, .. } = message;
        self.messages.push(ReceivedMessage { topic, payload });
    }

    /// The code of the next SUBACK.
    async fn suback(&mut self) -> Result<u8, BrokerError> {
        loop {
            self.link.drain(&mut self.incoming).await?;
            let mut code = None;
            for packet in std::mem::take(&mut self.incoming) {
                match packet {
                    Incoming::SubAck { codes, .. } => code = codes.first().copied(),
                    Incoming::Publish(message) => self.take_in(message),
                    Incoming::Disconnect(reason) => return Err(BrokerError::Dismissed(reason)),
                    _ => {}
                }
            }
            if let Some(code) = code {
                return Ok(code);
            }
        }
    }

    /// Disconnects and waits until the broker has read everything.
    pub async fn close(mut self) -> Result<(), BrokerError> {
        self.flush().await?;
        self.link.close(&outgoing::DISCONNECT).await;
        Ok(())
    }
}

// === impl PublishOutcome ===

impl PublishOutcome {
    fn of(code: u8) -> Self {
        match code {
            NO_SUBSCRIBER => Self::NoSubscriber,
            REFUSED.. => Self::Refused,
            _ => Self::Accepted,
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
    fn a_broker_reads_the_patched_bytes() {
        for payload in [&b"{\"seq\":0}"[..], &[b' '; 300]] {
            let mut packet = Packet::new("tenant/t/device/d/telemetry", payload, true).unwrap();
            packet.payload_mut()[0] = b'[';
            let publish = read(packet.stamped(0x1234));
            assert_eq!(
                (publish.pkid, publish.qos, publish.payload[0]),
                (0x1234, QoS::AtLeastOnce, b'[')
            );
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
