//! The least of MQTT 5 that a bare subscriber needs, on a blocking socket and without Sluice's own
//! code.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What the subscribers of the bench listen to.
pub const FILTER: &str = "tenant/+/device/+/#";

/// As many unacknowledged messages as Sluice asks for.
pub const WINDOW: u16 = 16_000;

const READ_BYTES: usize = 256 * 1024;

/// A subscribed connection.
pub struct Subscriber {
    pub socket: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
}

/// A message as it lies in the inbox.
pub struct Message<'a> {
    pub topic: &'a [u8],
    pub payload: &'a [u8],
    /// 0 at QoS 0.
    pub packet_id: u16,
}

/// How to connect.
pub struct Hello<'a> {
    pub port: u16,
    pub client_id: &'a str,
    /// Begin with an empty session, or continue the stored one.
    pub clean: bool,
    pub window: u16,
}

impl Hello<'_> {
    fn connect(&self) -> io::Result<Subscriber> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut body =
            vec![0, 4, b'M', b'Q', b'T', b'T', 5, u8::from(self.clean) << 1, 0, 0, 8, 0x11];
        let expiry: u32 = if self.clean { 0 } else { 600 };
        body.extend(expiry.to_be_bytes());
        body.push(0x21);
        body.extend(self.window.to_be_bytes());
        text(&mut body, self.client_id);
        packet(&mut socket, 0x10, &body)?;
        let mut subscriber = Subscriber { socket, inbox: vec![0; 2 * READ_BYTES], filled: 0 };
        subscriber.expect(0x20)?;
        Ok(subscriber)
    }

    /// Connects and subscribes to all of it at this QoS.
    pub fn subscribe(&self, qos: u8) -> io::Result<Subscriber> {
        self.subscribe_to(FILTER, qos)
    }

    /// Connects and subscribes at this QoS.
    pub fn subscribe_to(&self, filter: &str, qos: u8) -> io::Result<Subscriber> {
        let mut subscriber = self.connect()?;
        let mut body = vec![0, 1, 0];
        text(&mut body, filter);
        body.push(qos);
        packet(&mut subscriber.socket, 0x82, &body)?;
        subscriber.expect(0x90)?;
        Ok(subscriber)
    }

    /// Has the broker forget the session of this name.
    pub fn forget(port: u16, client_id: &str) -> io::Result<()> {
        let mut socket = Hello { port, client_id, clean: true, window: 1 }.connect()?.socket;
        socket.write_all(&[0xe0, 0])
    }
}

impl Subscriber {
    /// Publishes at QoS 1. The PUBACK is passed over.
    pub fn publish(&mut self, topic: &str, payload: &[u8], packet_id: u16) -> io::Result<()> {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 5);
        text(&mut body, topic);
        body.extend(packet_id.to_be_bytes());
        body.push(0);
        body.extend(payload);
        packet(&mut self.socket, 0x32, &body)
    }

    /// Waits for bytes and hands out all messages that are complete.
    pub fn read(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<()> {
        if self.inbox.len() - self.filled < READ_BYTES {
            self.inbox.resize(self.filled + 2 * READ_BYTES, 0);
        }
        let read = self.socket.read(&mut self.inbox[self.filled..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += read;
        let mut at = 0;
        while let Some((body, size)) = head(&self.inbox[at..self.filled]) {
            let first = self.inbox[at];
            if first >> 4 == 3 {
                each(message(first, &self.inbox[at + body..at + size]));
            }
            at += size;
        }
        self.inbox.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Waits for this packet; what stands before it is dropped.
    fn expect(&mut self, wanted: u8) -> io::Result<()> {
        loop {
            if let Some((_, size)) = head(&self.inbox[..self.filled]) {
                let first = self.inbox[0];
                self.inbox.copy_within(size..self.filled, 0);
                self.filled -= size;
                if first == wanted {
                    return Ok(());
                }
                continue;
            }
            match self.socket.read(&mut self.inbox[self.filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
    }
}

/// PUBACKs for these, in one write.
pub fn acknowledge(socket: &mut TcpStream, packet_ids: &[u16]) -> io::Result<()> {
    let acks: Vec<u8> = packet_ids
        .iter()
        .flat_map(|id| [0x40, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]])
        .collect();
    socket.write_all(&acks)
}

/// Where the body begins and how long the whole packet is, when all of it is there.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let (length, used) = variable(bytes.get(1..)?)?;
    (bytes.len() > used + length).then_some((1 + used, 1 + used + length))
}

fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

fn message(first: u8, body: &[u8]) -> Message<'_> {
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let has_id = first & 0b110 != 0;
    let packet_id =
        if has_id { u16::from_be_bytes([body[topic_end], body[topic_end + 1]]) } else { 0 };
    let properties = topic_end + if has_id { 2 } else { 0 };
    let (length, used) = variable(&body[properties..]).unwrap_or((0, 1));
    Message { topic: &body[2..topic_end], payload: &body[properties + used + length..], packet_id }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(socket: &mut TcpStream, first: u8, body: &[u8]) -> io::Result<()> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(body);
    socket.write_all(&bytes)
}
