//! Free loopback ports, each handed out once.
//!
//! They lie below the range from which the system takes the local ports of outgoing connections, so
//! a server that is down for a moment finds its port free when it comes back. Test processes that
//! run at the same time take theirs from different parts of the range.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const LOWEST: u16 = 20_000;

/// So many test processes may run at the same time.
const PARTS: u16 = 8;

/// The ports of a part; the first one stands for all of them.
const PART: u16 = 1_500;

/// The part of this process.
struct Part {
    /// Nobody connects to it: another process finds it taken, and tries the next part.
    _held: TcpListener,
    lowest: u16,
    next: AtomicU16,
}

// === impl Part ===

impl Part {
    fn take() -> Self {
        let free = (0..PARTS).map(|part| LOWEST + part * PART);
        let mut held =
            free.filter_map(|port| Some((TcpListener::bind(("127.0.0.1", port)).ok()?, port)));
        let (held, lowest) = held.next().expect("fewer test processes run than there are parts");
        Self { _held: held, lowest, next: AtomicU16::new(0) }
    }

    /// The next port, whether it is free or not.
    fn next(&self) -> u16 {
        self.lowest + 1 + self.next.fetch_add(1, Ordering::Relaxed) % (PART - 1)
    }
}

/// A free port.
pub fn free() -> u16 {
    static PART_OF_PROCESS: OnceLock<Part> = OnceLock::new();
    let part = PART_OF_PROCESS.get_or_init(Part::take);
    let mut tried = (1..PART).map(|_| part.next());
    let found = tried.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    found.unwrap_or_else(|| panic!("no free port of {PART} from {}", part.lowest))
}
