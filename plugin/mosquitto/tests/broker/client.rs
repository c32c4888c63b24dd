//! An MQTT 5 (or 3.1.1) client on raw packets: it can send what a library would not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::certificates::Identity;
use crate::mosquitto::Mosquitto;

/// A wait for a packet that must come.
const LIMIT: Duration = Duration::from_secs(30);

/// A received packet: its first byte and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Type and flags.
    pub head: u8,
    /// The rest, without the length.
    pub body: Vec<u8>,
}

/// A received PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The user properties, in order.
    pub properties: Vec<(String, String)>,
}

/// User properties.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// What a CONNECT contains.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// 5 or 4.
    pub version: u8,
    /// Whether the session begins empty.
    pub is_clean: bool,
    /// How long the session is stored, in seconds.
    pub expiry: u32,
    /// The will: topic, payload, user properties.
    pub will: Option<(&'a str, &'a str, Pairs<'a>)>,
    /// The method and the data of extended authentication.
    pub auth: Option<(&'a str, &'a str)>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A client.
pub struct Client {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    version: u8,
    input: Vec<u8>,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Self {
            client_id: "c",
            username: None,
            password: None,
            version: 5,
            is_clean: true,
            expiry: 0,
            will: None,
            auth: None,
        }
    }
}

impl Connect<'_> {
    fn body(&self) -> Vec<u8> {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', self.version];
        let mut flags = u8::from(self.is_clean) << 1;
        flags |= u8::from(self.username.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        flags |= u8::from(self.will.is_some()) << 2;
        body.extend([flags, 0, 60]);
        if self.version == 5 {
            let mut properties = Vec::new();
            if self.expiry > 0 {
                properties.push(17);
                properties.extend(self.expiry.to_be_bytes());
            }
            if let Some((method, data)) = self.auth {
                properties.push(21);
                text(&mut properties, method);
                properties.push(22);
                text(&mut properties, data);
            }
            varint(&mut body, properties.len());
            body.extend(properties);
        }
        text(&mut body, self.client_id);
        if let Some((topic, payload, pairs)) = self.will {
            if self.version == 5 {
                user_properties(&mut body, pairs);
            }
            text(&mut body, topic);
            text(&mut body, payload);
        }
        for value in [self.username, self.password].into_iter().flatten() {
            text(&mut body, value);
        }
        body
    }
}

impl Client {
    /// Connects without TLS. The reason code of a refusal; `None`: closed without a CONNACK.
    pub fn connect(broker: &Mosquitto, connect: &Connect<'_>) -> Result<Self, Option<u8>> {
        let socket = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
        Self::start(Box::new(socket.try_clone().unwrap()), socket, connect)
    }

    /// Connects by a certificate.
    pub fn connect_tls(
        broker: &Mosquitto,
        identity: &Identity,
        connect: &Connect<'_>,
    ) -> Result<Self, Option<u8>> {
        let socket = TcpStream::connect(("127.0.0.1", broker.tls_port())).unwrap();
        let config = broker.authority().client(identity);
        let tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let stream = rustls::StreamOwned::new(tls, socket.try_clone().unwrap());
        Self::start(Box::new(stream), socket, connect)
    }

    fn start(
        stream: Box<dyn Stream>,
        socket: TcpStream,
        connect: &Connect<'_>,
    ) -> Result<Self, Option<u8>> {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Self { stream, socket, version: connect.version, input: Vec::new() };
        if client.send(0x10, &connect.body()).is_err() {
            return Err(None);
        }
        match client.read(LIMIT) {
            Some(Packet { head: 0x20, body }) if body[1] == 0 => Ok(client),
            Some(Packet { head: 0x20, body }) => Err(Some(body[1])),
            Some(other) => panic!("{other:?} instead of a CONNACK"),
            None => Err(None),
        }
    }

    /// Publishes with QoS 1 and returns the reason code, or `None` if the connection ended.
    pub fn publish(&mut self, topic: &str, payload: &str, pairs: &[(&str, &str)]) -> Option<u8> {
        let mut body = Vec::new();
        text(&mut body, topic);
        body.extend([0, 7]);
        if self.version == 5 {
            user_properties(&mut body, pairs);
        }
        body.extend(payload.as_bytes());
        self.send(0x32, &body).ok()?;
        loop {
            let packet = self.read(LIMIT)?;
            match packet.head >> 4 {
                4 => return Some(packet.body.get(2).copied().unwrap_or_default()),
                14 => return None,
                _ => {}
            }
        }
    }

    /// Subscribes and returns the reason code.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 9];
        if self.version == 5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(1);
        self.send(0x82, &body).unwrap();
        loop {
            let packet = self.read(LIMIT).expect("a SUBACK");
            if packet.head == 0x90 {
                return *packet.body.last().unwrap();
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Received {
        self.message_within(LIMIT).expect("a message")
    }

    /// The next message within a time.
    pub fn message_within(&mut self, limit: Duration) -> Option<Received> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let packet = self.read(left)?;
            if packet.head >> 4 == 3 {
                let (message, id) = received(&packet, self.version);
                if let Some(id) = id {
                    let _ = self.send(0x40, &id);
                }
                return Some(message);
            }
        }
    }

    /// Sends an AUTH that begins a re-authentication, and returns the answer.
    pub fn authenticate_again(&mut self, method: &str, data: &str) -> Option<Packet> {
        let mut properties = vec![21];
        text(&mut properties, method);
        properties.push(22);
        text(&mut properties, data);
        let mut body = vec![0x19];
        varint(&mut body, properties.len());
        body.extend(properties);
        self.send(0xf0, &body).ok()?;
        self.read(LIMIT)
    }

    /// Waits for the end of the connection, and returns the reason code of a DISCONNECT before it.
    pub fn ended(&mut self) -> Option<u8> {
        let mut code = None;
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.read_result(deadline) {
                Ok(packet) if packet.head == 0xe0 => code = packet.body.first().copied(),
                Ok(_) => {}
                Err(ErrorKind::TimedOut) => panic!("the connection did not end"),
                Err(_) => return code,
            }
        }
    }

    /// Whether the connection answers a PINGREQ, and how long that took.
    pub fn ping(&mut self) -> Option<Duration> {
        let started_at = Instant::now();
        self.send(0xc0, &[]).ok()?;
        loop {
            if self.read(LIMIT)?.head == 0xd0 {
                return Some(started_at.elapsed());
            }
        }
    }

    /// Breaks the connection without a DISCONNECT.
    pub fn cut(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Ends the session in order.
    pub fn disconnect(mut self) {
        let _ = self.send(0xe0, &[]);
    }

    fn read(&mut self, limit: Duration) -> Option<Packet> {
        self.read_result(Instant::now() + limit).ok()
    }

    fn read_result(&mut self, deadline: Instant) -> Result<Packet, ErrorKind> {
        loop {
            if let Some(packet) = take_packet(&mut self.input) {
                return Ok(packet);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof),
                Ok(count) => self.input.extend(&bytes[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= deadline {
                        return Err(ErrorKind::TimedOut);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.kind()),
            }
        }
    }

    fn send(&mut self, head: u8, body: &[u8]) -> std::io::Result<()> {
        let mut packet = vec![head];
        varint(&mut packet, body.len());
        packet.extend(body);
        self.stream.write_all(&packet)?;
        self.stream.flush()
    }
}

fn take_packet(input: &mut Vec<u8>) -> Option<Packet> {
    let (len, read) = read_varint(input.get(1..)?)?;
    let start = 1 + read;
    let body = input.get(start..start + len)?.to_vec();
    let head = input[0];
    input.drain(..start + len);
    Some(Packet { head, body })
}

fn received(packet: &Packet, version: u8) -> (Received, Option<[u8; 2]>) {
    let body = &packet.body;
    let (topic, mut at) = read_text(body, 0);
    let id = (packet.head & 6 != 0).then(|| {
        at += 2;
        [body[at - 2], body[at - 1]]
    });
    let mut properties = Vec::new();
    if version == 5 {
        let (len, read) = read_varint(&body[at..]).unwrap();
        at += read;
        let end = at + len;
        while at < end {
            assert_eq!(body[at], 38, "only user properties are expected");
            let (name, next) = read_text(body, at + 1);
            let (value, next) = read_text(body, next);
            properties.push((name, value));
            at = next;
        }
    }
    (Received { topic, payload: body[at..].to_vec(), properties }, id)
}

fn user_properties(body: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    let mut properties = Vec::new();
    for (name, value) in pairs {
        properties.push(38);
        text(&mut properties, name);
        text(&mut properties, value);
    }
    varint(body, properties.len());
    body.extend(properties);
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

fn read_text(body: &[u8], at: usize) -> (String, usize) {
    let len = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    (String::from_utf8(body[at + 2..at + 2 + len].to_vec()).unwrap(), at + 2 + len)
}

fn varint(body: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number % 128).unwrap();
        number /= 128;
        body.push(if number > 0 { low | 128 } else { low });
        if number == 0 {
            return;
        }
    }
}

fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate() {
        number |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}
