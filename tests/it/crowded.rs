//! Strangers who occupy every connection of a listener: an honest request is answered all the same,
//! and soon.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::test_daemon::TestDaemon;
use crate::support::time_bounds::CROWDED_ANSWER;
use crate::support::wait;

/// More than any listener has places.
const STRANGERS: usize = 300;

/// How often a stranger who was sent away comes again, and how fast a slow one sends.
const PULSE: Duration = Duration::from_millis(100);

const QUESTION: &str = "POST /mqtt/superuser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
    Content-Length: 20\r\n\r\n{\"username\":\"alice\"}";

/// Of each listener: its setting, its label in metrics, a request that it answers without Postgres
/// and without a broker, and the start of a request with a body.
const LISTENERS: [(&str, &str, &str, &str); 4] = [
    (
        "HTTP_BIND",
        "api",
        "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /api/v1/tenants",
    ),
    ("OPS_BIND", "ops", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /livez"),
    ("HOOKS_BIND", "hooks", QUESTION, "POST /mqtt/superuser"),
    (
        "PUBLIC_BIND",
        "public",
        "GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /public/credentials",
    ),
];

/// What the strangers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Silence,
    OneByte,
    HalfHead,
    /// A head that continues, byte by byte.
    SlowHead,
    /// A head that is complete, and no body.
    NoBody,
    /// Many requests at once, and no answer is read.
    Unread,
    /// One request, and then silence.
    Idle,
}

const ATTACKS: [Attack; 7] = [
    Attack::Silence,
    Attack::OneByte,
    Attack::HalfHead,
    Attack::SlowHead,
    Attack::NoBody,
    Attack::Unread,
    Attack::Idle,
];

/// Strangers who come again whenever they are sent away, until this is dropped.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn start() -> (Daemon, [u16; 4]) {
    // No request here needs Postgres or a broker.
    let started = TestDaemon::builder().listener("PUBLIC_BIND").start();
    let ports = LISTENERS.map(|(name, ..)| started.listening(name));
    (started.daemon, ports)
}

/// The status of the answer on this connection, and how long it took; none: it was closed.
fn ask(stream: &mut TcpStream, request: &str) -> Option<(u16, Duration)> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(length @ 1..) => head.extend_from_slice(&some[..length]),
            _ => return None,
        }
    }
    let status = std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap();
    Some((status, begun.elapsed()))
}

/// The longest time to an answer of five new clients; one whose connection is closed connects
/// again.
fn worst(port: u16, request: &str) -> Duration {
    let one = || {
        let begun = Instant::now();
        wait::for_some("there is an answer", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            ask(&mut stream, request)
        });
        begun.elapsed()
    };
    (0..5).map(|_| one()).max().unwrap()
}

#[test]
fn a_crowd_at_any_listener_delays_no_honest_answer() {
    let (daemon, ports) = start();
    for attack in ATTACKS {
        for ((name, label, request, path), port) in LISTENERS.iter().zip(ports) {
            let evicted = format!("sluice_http_connections_evicted_total{{listener=\"{label}\"}}");
            let before = daemon.metric(&evicted);
            let crowd = Crowd::gather(port, attack, attack.opening(request, path));
            let took = worst(port, request);
            drop(crowd);
            let contested = daemon.metric(&evicted) > before;
            assert!(contested || !attack.is_unfinished_head(), "{name} {attack:?}: no crowd");
            println!("{name} {attack:?}: {took:?}");
            assert!(took < CROWDED_ANSWER, "{name} {attack:?}: {took:?}");
        }
    }
}

#[test]
fn the_brokers_own_connection_survives_a_crowd_of_silent_ones() {
    let (_daemon, [.., hooks, _]) = start();
    let mut broker = TcpStream::connect(("127.0.0.1", hooks)).unwrap();
    assert_eq!(ask(&mut broker, QUESTION).map(|(status, _)| status), Some(403));
    for attack in
        [Attack::Silence, Attack::OneByte, Attack::HalfHead, Attack::SlowHead, Attack::NoBody]
    {
        let crowd = Crowd::gather(hooks, attack, attack.opening(QUESTION, "POST /mqtt/superuser"));
        for _ in 0..3 {
            let (status, took) =
                ask(&mut broker, QUESTION).expect("the broker's connection is kept");
            assert_eq!(status, 403);
            assert!(took < CROWDED_ANSWER, "{attack:?}: {took:?}");
            thread::sleep(PULSE);
        }
        drop(crowd);
    }
}

#[test]
fn a_head_that_never_ends_is_cut_off_and_counted() {
    let (daemon, [api, _, hooks, _]) = start();
    for (label, port) in [("api", api), ("hooks", hooks)] {
        let metric = |name: &str| daemon.metric(&format!("{name}{{listener=\"{label}\"}}"));
        let timed_out = metric("sluice_http_connections_timed_out_total");
        let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
        slow.set_read_timeout(Some(PULSE)).unwrap();
        slow.write_all(b"GET /mqtt/user HTTP/1.1\r\nX: ").unwrap();
        wait::until("the connection is shown", || metric("sluice_http_connections") > 0.5);
        wait::until("the slow head is cut off", || {
            let sent = slow.write_all(b"a");
            let read = slow.read(&mut [0; 16]);
            let is_open = read.is_err_and(|error| {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            });
            sent.is_err() || !is_open
        });
        wait::until("the end is counted", || {
            metric("sluice_http_connections_timed_out_total") > timed_out
        });
    }
}

// === impl Attack ===

impl Attack {
    /// Such a request occupies a place of every listener; a complete head may be answered at once.
    const fn is_unfinished_head(self) -> bool {
        matches!(self, Self::Silence | Self::OneByte | Self::HalfHead | Self::SlowHead)
    }

    fn opening(self, request: &str, path: &str) -> String {
        match self {
            Self::Silence => String::new(),
            Self::OneByte => "P".to_owned(),
            Self::HalfHead | Self::SlowHead => format!("{path} HTTP/1.1\r\nHost: localhost\r\nX: "),
            Self::NoBody => format!(
                "{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
            ),
            Self::Unread => request.repeat(20),
            Self::Idle => request.to_owned(),
        }
    }
}

// === impl Crowd ===

impl Crowd {
    /// All are connected when this returns.
    fn gather(port: u16, attack: Attack, opening: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let come = move || {
            let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_nonblocking(true).ok()?;
            (&stream).write_all(opening.as_bytes()).ok()?;
            Some(stream)
        };
        let mut crowd: Vec<_> = (0..STRANGERS).map(|_| come()).collect();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for one in &mut crowd {
                    if one.as_mut().is_none_or(|stream| is_gone(stream, attack)) {
                        *one = come();
                    }
                }
                thread::sleep(PULSE);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

/// Whether the server has closed this connection.
fn is_gone(stream: &mut TcpStream, attack: Attack) -> bool {
    if attack == Attack::SlowHead && stream.write_all(b"a").is_err() {
        return true;
    }
    if attack == Attack::Unread {
        return false;
    }
    match stream.read(&mut [0; 4096]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
