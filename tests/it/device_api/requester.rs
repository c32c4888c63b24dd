//! A device that sends requests with any MQTT 5 properties and receives their responses: blocking, on
//! the codec alone, with `TCP_NODELAY`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Filter, Login, Packet, PubAck, PubAckReason, Publish,
    PublishProperties, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as PacketError, QoS};
use serde_json::Value;

use super::rig::PASSWORD;
use crate::support::wait;

/// A broker or a daemon that is silent for this long has failed.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub topic: String,
    pub payload: Vec<u8>,
    pub properties: PublishProperties,
    pub is_retained: bool,
}

/// A response as it arrived.
#[derive(Clone, Debug)]
pub struct Response {
    pub topic: String,
    /// Null if it is no JSON.
    pub json: Value,
    pub properties: PublishProperties,
    pub publish: Publish,
}

/// A connected device, subscribed to its responses.
#[derive(Debug)]
pub struct Requester {
    identity: String,
    stream: TcpStream,
    received: BytesMut,
    inbox: VecDeque<Publish>,
    acks: VecDeque<PubAck>,
    last_id: u16,
}

// === impl Request ===

impl Request {
    pub fn to(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.as_ref().to_vec(),
            properties: PublishProperties::default(),
            is_retained: false,
        }
    }

    pub fn response_topic(mut self, topic: &str) -> Self {
        self.properties.response_topic = Some(topic.to_owned());
        self
    }

    pub fn correlation(mut self, data: impl AsRef<[u8]>) -> Self {
        self.properties.correlation_data = Some(data.as_ref().to_vec().into());
        self
    }

    pub fn expiring(mut self, seconds: u32) -> Self {
        self.properties.message_expiry_interval = Some(seconds);
        self
    }
}

// === impl Response ===

impl Response {
    pub fn status(&self) -> u64 {
        self.json["status"].as_u64().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The part of the topic behind the device's `response/`.
    pub fn path(&self) -> &str {
        self.topic.split_once("/response/").unwrap_or_else(|| panic!("{self:?}")).1
    }

    fn of(publish: Publish) -> Self {
        Self {
            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
            json: serde_json::from_slice(&publish.payload).unwrap_or_default(),
            properties: publish.properties.clone().unwrap_or_default(),
            publish,
        }
    }
}

// === impl Requester ===

impl Requester {
    /// Connects as this device, such as `acme/device/pump-1`, and subscribes to its responses.
    pub fn connect(port: u16, identity: &str) -> Self {
        let mut requester = Self::connect_only(port, identity);
        requester.subscribe(&format!("tenant/{identity}/response/#"));
        requester
    }

    /// Connects without a subscription.
    pub fn connect_only(port: u16, user: &str) -> Self {
        Self::log_in(port, user, PASSWORD)
    }

    /// Connects with this password, without a subscription.
    pub fn log_in(port: u16, user: &str, password: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIME)).unwrap();
        let mut requester = Self {
            identity: user.to_owned(),
            stream,
            received: BytesMut::new(),
            inbox: VecDeque::new(),
            acks: VecDeque::new(),
            last_id: 0,
        };
        let connect = Connect {
            keep_alive: 0,
            // With a slash it could be the client id of a device.
            client_id: format!(
                "test-{}-{}",
                user.replace('/', "."),
                requester.stream.local_addr().unwrap().port()
            ),
            clean_start: true,
            properties: None,
        };
        let login = Login { username: user.to_owned(), password: password.to_owned() };
        requester.send(&Packet::Connect(connect, None, Some(login)));
        match requester.packet_within(ANSWER_TIME) {
            Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => requester,
            other => panic!("{user} is not connected: {other:?}{}", wait::log_tails()),
        }
    }

    pub fn subscribe(&mut self, filter: &str) {
        self.is_subscribed(filter);
    }

    /// Subscribes; whether the broker grants it.
    pub fn is_subscribed(&mut self, filter: &str) -> bool {
        let mut subscribe = Subscribe::new(Filter::new(filter, QoS::AtLeastOnce), None);
        subscribe.pkid = self.next_id();
        self.send(&Packet::Subscribe(subscribe));
        match self.packet_within(ANSWER_TIME) {
            Some(Packet::SubAck(ack)) => {
                ack.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_)))
            }
            other => panic!("{filter}: {other:?}"),
        }
    }

    /// A request of this device.
    pub fn request(&self, route: &str, payload: impl AsRef<[u8]>) -> Request {
        Request::to(format!("tenant/{}/request/{route}", self.identity), payload)
    }

    /// Sends a request at `QoS` 1 and returns without its acknowledgement.
    pub fn start(&mut self, request: &Request) {
        let pkid = self.next_id();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: request.is_retained,
            topic: request.topic.clone().into(),
            pkid,
            payload: request.payload.clone().into(),
            properties: Some(request.properties.clone()),
        };
        self.send(&Packet::Publish(publish));
    }

    /// Sends a request at `QoS` 1; what the broker says of it.
    pub fn publish(&mut self, request: &Request) -> PubAckReason {
        self.acks.clear();
        self.start(request);
        let until = Instant::now() + ANSWER_TIME;
        loop {
            if let Some(ack) = self.acks.pop_front() {
                return ack.reason;
            }
            self.read_one(until).unwrap_or_else(|| panic!("no PUBACK{}", wait::log_tails()));
        }
    }

    /// The next response, if one arrives in this time.
    pub fn response_within(&mut self, time: Duration) -> Option<Response> {
        let until = Instant::now() + time;
        loop {
            if let Some(publish) = self.inbox.pop_front() {
                return Some(Response::of(publish));
            }
            self.read_one(until)?;
        }
    }

    /// The next response.
    pub fn response(&mut self) -> Response {
        self.response_within(ANSWER_TIME)
            .unwrap_or_else(|| panic!("no response{}", wait::log_tails()))
    }

    /// Sends a request and waits for its response.
    pub fn ask(&mut self, request: &Request) -> Response {
        self.start(request);
        self.response()
    }

    /// Sends a request without properties and waits for its response.
    pub fn call(&mut self, route: &str, payload: impl AsRef<[u8]>) -> Response {
        let request = self.request(route, payload);
        self.ask(&request)
    }

    /// Reads one packet; `None` if none arrives until then.
    fn read_one(&mut self, until: Instant) -> Option<()> {
        let left = until.saturating_duration_since(Instant::now());
        match self.packet_within(left)? {
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    self.send(&Packet::PubAck(PubAck::new(publish.pkid, None)));
                }
                self.inbox.push_back(publish);
            }
            Packet::PubAck(ack) => self.acks.push_back(ack),
            Packet::Disconnect(end) => panic!("{}: {:?}", self.identity, end.reason_code),
            _ => {}
        }
        Some(())
    }

    fn packet_within(&mut self, time: Duration) -> Option<Packet> {
        let until = Instant::now() + time;
        loop {
            match Packet::read(&mut self.received, None) {
                Ok(packet) => return Some(packet),
                Err(PacketError::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the broker closed the connection{}", wait::log_tails()),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }
}
