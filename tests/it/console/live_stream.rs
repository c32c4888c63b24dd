//! A reader of the live tail's stream: it reads events one by one, or does not read at all.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::wait::log_tails;

/// An event that has not come by then does not come: a heartbeat comes every 15 seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// An open stream.
#[derive(Debug)]
pub struct LiveStream {
    socket: TcpStream,
    /// What has come and is not yet a chunk; and text that is not yet an event.
    raw: Vec<u8>,
    text: String,
    is_over: bool,
}

// === impl LiveStream ===

impl LiveStream {
    /// Opens a stream by a bearer's token; it must be accepted.
    pub fn open(port: u16, search: &str, token: &str) -> Self {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let mut stream = Self::request(port, search, &headers);
        let (name, opened) = stream.next().expect("the first event");
        assert_eq!((name.as_str(), &opened["moment"]), ("open", &Value::from("decision")));
        stream
    }

    /// Sends the request for a stream with these headers, and reads the head of an accepted one.
    pub fn request(port: u16, search: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let search = super::browser::encoded(search);
        let head = format!(
            "GET /api/v1/live?search={search} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut stream = Self { socket, raw: Vec::new(), text: String::new(), is_over: false };
        let begun = Instant::now();
        let end = loop {
            if let Some(end) = stream.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(stream.fill() && begun.elapsed() < PATIENCE, "no head{}", log_tails());
        };
        let head: Vec<u8> = stream.raw.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        stream
    }

    /// The next event; `None`: the stream has ended.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
                return Some((field("event: ").unwrap().to_owned(), data));
            }
            if self.is_over {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "no event{}", log_tails());
            if !self.fill() {
                self.is_over = true;
            }
            self.take_chunks();
        }
    }

    /// The next event of this name.
    pub fn event(&mut self, wanted: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (name, data) = self.next().unwrap_or_else(|| panic!("no {wanted}{}", log_tails()));
            assert!(begun.elapsed() < 2 * PATIENCE, "no {wanted}{}", log_tails());
            if name == wanted {
                return data;
            }
        }
    }

    /// The next decision.
    pub fn decision(&mut self) -> Value {
        self.event("decision")
    }

    /// The socket, to read nothing from it.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what there is; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.raw.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Moves the text of whole chunks.
    fn take_chunks(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.raw.len() < line + 2 + size + 2 {
                return;
            }
            self.is_over |= size == 0;
            self.text += std::str::from_utf8(&self.raw[line + 2..line + 2 + size]).unwrap();
            self.raw.drain(..line + 2 + size + 2);
        }
    }
}
