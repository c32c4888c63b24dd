//! A device that publishes and records what the broker accepted: blocking, over MQTT 5, on the
//! codec alone, so that it sends exactly the packets of the test and queues none.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Login, Packet, PubAckReason, PubCompReason, PubRecReason, PubRel,
    Publish, PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error as PacketError, QoS};

/// How many messages may be under way at once: well below what the broker allows, enough to keep it
/// busy.
const WINDOW: usize = 500;

/// A broker that is silent for this long has hung.
const SILENCE: Duration = Duration::from_mins(1);

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: Bytes,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// User properties, in order.
    pub properties: Vec<(String, String)>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has taken it over (at QoS 0: it has been sent).
    Accepted,
    /// The broker refused it and said why.
    Refused(String),
    /// The connection ended before an answer.
    Unknown,
}

/// A connected publisher.
#[derive(Debug)]
pub struct Device {
    port: u16,
    name: String,
    login: Option<(String, String)>,
    stream: TcpStream,
    received: BytesMut,
    last_id: u16,
}

// === impl Message ===

impl Message {
    /// A message of QoS 1.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        let (topic, payload) =
            (Bytes::copy_from_slice(topic.as_ref()), Bytes::copy_from_slice(payload.as_ref()));
        Self { topic, payload, qos: QoS::AtLeastOnce, retain: false, properties: Vec::new() }
    }

    pub fn qos(self, qos: QoS) -> Self {
        Self { qos, ..self }
    }

    /// Adds a user property.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }
}

// === impl Device ===

impl Device {
    /// Connects to a port of the loopback, under this client id, with a clean session.
    pub fn connect(port: u16, name: &str) -> Self {
        Self::try_connect(port, name, None)
            .unwrap_or_else(|error| panic!("device {name} connects: {error}"))
    }

    /// The same, with a name and a password perhaps, where a failure is part of the test.
    pub fn try_connect(port: u16, name: &str, login: Option<(&str, &str)>) -> Result<Self, Error> {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut device = Self {
            port,
            name: name.to_owned(),
            login,
            stream,
            received: BytesMut::new(),
            last_id: 0,
        };
        let connect = Connect {
            keep_alive: 0,
            client_id: name.to_owned(),
            clean_start: true,
            properties: None,
        };
        let login = device.login.clone().map(|(username, password)| Login { username, password });
        device.send(&[Packet::Connect(connect, None, login)])?;
        match device.receive()? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(device),
            other => Err(Error::new(ErrorKind::ConnectionRefused, format!("{other:?}"))),
        }
    }

    /// Gives up the connection and makes another.
    pub fn reconnect(&mut self) -> Result<(), Error> {
        let login = self.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        *self = Self::try_connect(self.port, &self.name, login)?;
        Ok(())
    }

    /// Publishes at QoS 1 and waits until the broker has taken it over; a refusal is a panic.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let fates = self.publish_all(&[Message::new(topic, payload)]);
        assert_eq!(fates, [Fate::Accepted], "device {} publishes to {topic}", self.name);
    }

    /// Publishes all of these, many under way at once; the fate of each, in their order.
    ///
    /// When the connection ends, the rest is `Unknown`, also what was never sent; `reconnect` makes
    /// a new one.
    pub fn publish_all(&mut self, messages: &[Message]) -> Vec<Fate> {
        let mut fates = vec![Fate::Unknown; messages.len()];
        // A failure leaves the fates `Unknown`.
        let _ = self.carry(messages, &mut fates);
        fates
    }

    fn carry(&mut self, messages: &[Message], fates: &mut [Fate]) -> Result<(), Error> {
        let mut under_way: Vec<(u16, usize)> = Vec::with_capacity(WINDOW);
        for (chunk, start) in messages.chunks(WINDOW).zip((0..).step_by(WINDOW)) {
            let mut packets = Vec::with_capacity(chunk.len());
            for (message, index) in chunk.iter().zip(start..) {
                let id = if message.qos == QoS::AtMostOnce { 0 } else { self.next_id() };
                packets.push(Packet::Publish(message.packet(id)));
                if id > 0 {
                    under_way.push((id, index));
                }
            }
            self.send(&packets)?;
            for (message, index) in chunk.iter().zip(start..) {
                if message.qos == QoS::AtMostOnce {
                    fates[index] = Fate::Accepted;
                }
            }
            while !under_way.is_empty() {
                let packet = self.receive()?;
                if let Some((id, fate)) = self.answer(packet)? {
                    let place = under_way
                        .iter()
                        .position(|(known, _)| *known == id)
                        .expect("an answer to a message");
                    fates[under_way.swap_remove(place).1] = fate;
                }
            }
        }
        Ok(())
    }

    /// The message a packet decides on, if it does; the second half of QoS 2 is started here.
    fn answer(&mut self, packet: Packet) -> Result<Option<(u16, Fate)>, Error> {
        let decided = match packet {
            Packet::PubAck(ack) => {
                let accepted = matches!(
                    ack.reason,
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                );
                Some((ack.pkid, Fate::of(accepted, &ack.reason)))
            }
            Packet::PubRec(rec)
                if matches!(
                    rec.reason,
                    PubRecReason::Success | PubRecReason::NoMatchingSubscribers
                ) =>
            {
                self.send(&[Packet::PubRel(PubRel::new(rec.pkid, None))])?;
                None
            }
            Packet::PubRec(rec) => Some((rec.pkid, Fate::of(false, &rec.reason))),
            Packet::PubComp(comp) => {
                Some((comp.pkid, Fate::of(comp.reason == PubCompReason::Success, &comp.reason)))
            }
            Packet::Disconnect(disconnect) => {
                return Err(Error::new(
                    ErrorKind::ConnectionAborted,
                    format!("{:?}", disconnect.reason_code),
                ));
            }
            _ => None,
        };
        Ok(decided)
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn send(&mut self, packets: &[Packet]) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, None).unwrap();
        }
        self.stream.write_all(&bytes)
    }

    fn receive(&mut self) -> Result<Packet, Error> {
        loop {
            match Packet::read(&mut self.received, None) {
                Ok(packet) => return Ok(packet),
                Err(PacketError::InsufficientBytes(_)) => {}
                Err(error) => return Err(Error::new(ErrorKind::InvalidData, error.to_string())),
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => self.received.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

// === impl Message, Fate: private helpers ===

impl Message {
    fn packet(&self, id: u16) -> Publish {
        let (topic, payload) = (self.topic.clone(), self.payload.clone());
        Publish {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic,
            pkid: id,
            payload,
            properties: (!self.properties.is_empty()).then(|| PublishProperties {
                user_properties: self.properties.clone(),
                ..PublishProperties::default()
            }),
        }
    }
}

impl Fate {
    fn of(accepted: bool, reason: &impl std::fmt::Debug) -> Self {
        if accepted { Self::Accepted } else { Self::Refused(format!("{reason:?}")) }
    }
}
