//! An issuer's key endpoint: a small HTTP server that answers as the test says, and counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sluice::config::sections::issuer::IssuerKeySource;

/// What it does with a request.
#[derive(Clone)]
pub enum Answer {
    /// 200, with this.
    Keys(Vec<u8>),
    /// Another status line and more headers, with nothing.
    Status(String),
    /// It hangs up.
    Nothing,
    /// It takes the request and says nothing for as long as the connection lasts.
    Silence,
}

/// It listens as long as it lives.
pub struct Issuer {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

// === impl Issuer ===

impl Issuer {
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked, closing) =
            (Arc::new(Mutex::new(answer)), Arc::default(), Arc::default());
        let thread = thread::spawn({
            let (answer, asked, closing): (_, Arc<AtomicUsize>, Arc<AtomicBool>) =
                (answer.clone(), Arc::clone(&asked), Arc::clone(&closing));
            move || {
                let mut held = Vec::new();
                for stream in listener.incoming() {
                    if closing.load(Ordering::SeqCst) {
                        return;
                    }
                    let current = answer.lock().unwrap().clone();
                    if let Some(stream) = serve(stream.unwrap(), &current, &asked) {
                        held.push(stream);
                    }
                }
            }
        });
        Self { port, answer, asked, closing, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/certs?use=sig", self.port)
    }

    pub fn source(&self) -> IssuerKeySource {
        IssuerKeySource::Url { url: self.url(), ca_cert: None }
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How many requests it got.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A connection that is to be held is returned.
fn serve(mut stream: TcpStream, answer: &Answer, asked: &AtomicUsize) -> Option<TcpStream> {
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    assert_eq!(head[0], "GET /certs?use=sig HTTP/1.1");
    asked.fetch_add(1, Ordering::SeqCst);
    // The client may be gone by now.
    let _ = match answer {
        Answer::Keys(keys) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                keys.len()
            );
            stream.write_all(&[head.as_bytes(), keys].concat())
        }
        Answer::Status(head) => {
            stream.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        }
        Answer::Nothing => Ok(()),
        Answer::Silence => return Some(stream),
    };
    None
}
