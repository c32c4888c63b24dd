//! A broker that does exactly what the test says, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Generous: on a loaded machine a slow test is no failure.
const DEADLINE: Duration = Duration::from_mins(1);

pub const CONNECT: u8 = 0x10;
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBCOMP: u8 = 0x70;
pub const SUBSCRIBE: u8 = 0x82;
pub const UNSUBSCRIBE: u8 = 0xa2;
pub const PINGREQ: u8 = 0xc0;
pub const DISCONNECT: u8 = 0xe0;

/// Somewhere to connect to.
pub struct Peer {
    listener: TcpListener,
}

/// One connection of the session.
pub struct Caller {
    stream: TcpStream,
}

// === impl Peer ===

impl Peer {
    pub fn listen() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection.
    pub fn accept(&self) -> Caller {
        self.listener.set_nonblocking(true).unwrap();
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    return Caller { stream };
                }
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && start.elapsed() < DEADLINE =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("nobody connected: {error}"),
            }
        }
    }

    /// The next connection, answered as a good broker would, up to both SUBACKs.
    pub fn welcome(&self, session_present: bool) -> Caller {
        let mut caller = self.accept();
        caller.answer_connect(&[u8::from(session_present), 0, 0]);
        caller.answer_subscribe(1);
        caller
    }
}

// === impl Caller ===

impl Caller {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Whether the other side still takes bytes.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next packet: its first byte and its body.
    pub fn packet(&mut self) -> (u8, Vec<u8>) {
        let first = self.byte();
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (first, body)
    }

    /// The next packet must be of this kind.
    pub fn expect(&mut self, first: u8) -> Vec<u8> {
        let (found, body) = self.packet();
        assert_eq!(found, first, "{body:?}");
        body
    }

    /// The next packet must be this answer to this message.
    pub fn expect_answer(&mut self, first: u8, packet_id: u16) {
        assert_eq!(self.expect(first), packet_id.to_be_bytes());
    }

    /// Nothing more comes: the session has closed the connection.
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let _reset_counts_too = self.stream.read_to_end(&mut rest);
        assert_eq!(rest, Vec::<u8>::new());
    }

    /// Reads CONNECT and answers with this body of a CONNACK.
    pub fn answer_connect(&mut self, connack: &[u8]) {
        self.expect(CONNECT);
        self.send(&packet(0x20, connack));
    }

    /// Reads both SUBSCRIBEs, refuses the second, and answers the first with this code.
    pub fn answer_subscribe(&mut self, code: u8) {
        for expected in [1, 2] {
            assert_eq!(self.expect(SUBSCRIBE)[..2], [0, expected]);
        }
        self.send(&packet(0x90, &[0, 2, 0, 0x87]));
        self.send(&packet(0x90, &[0, 1, 0, code]));
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Sends a QoS 1 message.
    pub fn publish(&mut self, packet_id: u16, payload: &[u8]) {
        self.send(&publish(0x32, packet_id, &[], payload));
    }
}

/// A packet with this first byte and body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

/// A PUBLISH with a packet identifier, so of QoS 1 or 2, with these bytes as its properties (at
/// most 127).
pub fn publish(first: u8, packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let topic = b"tenant/t/device/d/telemetry";
    let mut body = vec![0, u8::try_from(topic.len()).unwrap()];
    body.extend_from_slice(topic);
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(first, &body)
}
