//! A small broker that grants a shared subscription as one gateway does: it takes `$share/..` as a plain
//! name, and delivers nothing through it. Everything else works as far as the doctor needs it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Subscriptions: a filter without wildcards, and the connection.
type Subscriptions = Arc<Mutex<Vec<(String, TcpStream)>>>;

/// The broker; its threads end with the test's process.
pub struct PlainBroker {
    port: u16,
}

// === impl PlainBroker ===

impl PlainBroker {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let subscriptions = Subscriptions::default();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let subscriptions = Arc::clone(&subscriptions);
                // A connection that ends is no fault.
                thread::spawn(move || drop(serve(stream, &subscriptions)));
            }
        });
        Self { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut stream: TcpStream, subscriptions: &Subscriptions) -> std::io::Result<()> {
    loop {
        let (first, body) = packet(&mut stream)?;
        match first {
            0x10 => stream.write_all(&[0x20, 3, 0, 0, 0])?,
            0x82 => {
                // Packet identifier, no properties, one filter.
                let length = usize::from(u16::from_be_bytes([body[3], body[4]]));
                let filter = String::from_utf8_lossy(&body[5..5 + length]).into_owned();
                subscriptions.lock().unwrap().push((filter, stream.try_clone()?));
                stream.write_all(&[0x90, 4, body[0], body[1], 0, 1])?;
            }
            0x32 => {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
                stream.write_all(&[0x40, 2, body[2 + length], body[3 + length]])?;
                deliver(&topic, &body, subscriptions);
            }
            0xc0 => stream.write_all(&[0xd0, 0])?,
            0xe0 => return Ok(()),
            _ => {}
        }
    }
}

fn deliver(topic: &str, body: &[u8], subscriptions: &Subscriptions) {
    let length = u8::try_from(body.len()).expect("a short message");
    let bytes: Vec<u8> = [0x32, length].iter().chain(body).copied().collect();
    let mut all = subscriptions.lock().unwrap();
    all.retain_mut(|(filter, stream)| filter != topic || stream.write_all(&bytes).is_ok());
}

/// The next packet: its first byte and its body.
fn packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}
