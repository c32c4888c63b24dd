//! What people who look cost: five consoles that show the overview and lists, and one live tail, while
//! devices publish.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::measure::{Load, Round, Way};
use crate::plan::{Extent, Measured, Set, Target, cpu_of_both, least, most, of, ratio, sluice};
use crate::stage::Outcome;

const OFF: &str = "2,000/s, no console";
const ON: &str = "2,000/s, 5 consoles and a tail";

/// Pairs of rounds with and without consoles.
const PAIRS: usize = 3;

/// People at the console.
const CONSOLES: usize = 5;

/// The overview loads its part again so often; every so many times, a list is loaded, too.
const REFRESH: Duration = Duration::from_secs(1);
const LIST_EVERY: usize = 3;

/// The lists that are loaded, in turn.
const LISTS: [&str; 5] = [
    "/console/devices",
    "/console/quarantine",
    "/console/certificates",
    "/console/audit",
    "/console/devices?search=silent%3A1h",
];

const TOKEN: &str = "bench-admin-token";

/// A page that has not come by then counts as wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// The consoles of a round, before they open.
pub struct Consoles {
    port: u16,
    bind: String,
}

/// Open consoles.
pub struct OpenConsoles {
    shared: Arc<Watched>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Watched {
    is_over: AtomicBool,
    pages: AtomicU64,
    lines: AtomicU64,
    wrong: AtomicU64,
}

pub fn sets(extent: Extent, full: Load) -> Vec<Set> {
    let load = Load { messages: 2_000 * extent.seconds, rate: 2_000, ..full };
    let watched = Load { way: Way::Watched, ..load };
    vec![Set { cases: vec![sluice(OFF, load), sluice(ON, watched)], times: PAIRS }]
}

pub fn targets(measured: &Measured) -> Vec<Target> {
    let p99 = |round: &Round| round.latency.map_or(f64::NAN, |latency| latency[1]);
    let is_measured = of(measured, ON).is_some();
    let ratio = |figure| is_measured.then(|| ratio(measured, ON, OFF, figure)).flatten();
    vec![
        most("latency with 5 consoles and a tail, p99, of none", ratio(p99), 1.1),
        most("CPU of both with 5 consoles and a tail, of none", ratio(cpu_of_both), 1.1),
        least("rate with 5 consoles and a tail, of none", ratio(|round| round.rate), 0.99),
    ]
}

// === impl Consoles ===

impl Consoles {
    /// The consoles of a load that is watched.
    pub fn of(way: Way) -> Outcome<Option<Self>> {
        if way != Way::Watched {
            return Ok(None);
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Some(Self { port, bind: format!("127.0.0.1:{port}") }))
    }

    /// The settings of the daemon.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        vec![("HTTP_BIND", self.bind.as_str()), ("ADMIN_TOKEN", TOKEN), ("CONSOLE", "1")]
    }

    /// Opens them, and the tail.
    pub fn open(&self) -> Outcome<OpenConsoles> {
        let (shared, port) = (Arc::new(Watched::default()), self.port);
        let mut threads = Vec::new();
        for number in 0..CONSOLES {
            let (watched, cookie) = (Arc::clone(&shared), sign_in(port)?);
            threads.push(thread::spawn(move || look(port, number, &cookie, &watched)));
        }
        let watched = Arc::clone(&shared);
        threads.push(thread::spawn(move || follow(port, &watched)));
        Ok(OpenConsoles { shared, threads })
    }
}

// === impl OpenConsoles ===

impl OpenConsoles {
    /// Closes them; how many pages did not come, and whether nothing was seen at all.
    pub fn close(self) -> f64 {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A thread that panicked has counted nothing more.
            let _ = thread.join();
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (pages, lines) = (read(&self.shared.pages), read(&self.shared.lines));
        println!("{pages} pages and parts were loaded, {lines} bytes of the tail were read");
        let is_blind = u64::from(pages == 0) + u64::from(lines == 0);
        (read(&self.shared.wrong) + is_blind) as f64
    }
}

/// One person: the overview each second, and a list now and then.
fn look(port: u16, number: usize, cookie: &str, watched: &Watched) {
    let headers =
        format!("Cookie: {cookie}\r\nHX-Request: true\r\nSec-Fetch-Site: same-origin\r\n");
    let mut due = Instant::now() + REFRESH * u32::try_from(number).unwrap_or(0) / 5;
    for time in number.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += REFRESH;
        if watched.is_over.load(Ordering::Relaxed) {
            return;
        }
        let list = (time % LIST_EVERY == 0).then(|| LISTS[time / LIST_EVERY % LISTS.len()]);
        for path in ["/console/overview/part"].into_iter().chain(list) {
            let is_page = ask(port, "GET", path, &headers, "")
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
            let count = if is_page { &watched.pages } else { &watched.wrong };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The tail of one person.
fn follow(port: u16, watched: &Watched) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let head = format!(
        "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let is_open = stream.set_read_timeout(Some(Duration::from_millis(200))).is_ok()
        && stream.write_all(head.as_bytes()).is_ok();
    let mut buffer = [0; 16 * 1024];
    while is_open && !watched.is_over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                watched.lines.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The cookie of a session.
fn sign_in(port: u16) -> Outcome<String> {
    let headers = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://localhost:{port}\r\n"
    );
    let answer = ask(port, "POST", "/console/login", &headers, &format!("token={TOKEN}"))?;
    let line = answer.lines().find_map(|line| line.strip_prefix("set-cookie: sluice_session="));
    let value = line.and_then(|line| line.split(';').next()).ok_or("no session of the console")?;
    Ok(format!("sluice_session={value}"))
}

fn ask(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
