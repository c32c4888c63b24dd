//! Free loopback ports, each handed out once.
//!
//! They lie below the range from which the system takes the local ports of outgoing connections, so
//! a server that is down for a moment finds its port free when it comes back.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const LOWEST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port.
pub fn free() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two test processes start at different places; where they meet all the same, the listen below
    // tells.
    let next = NEXT.get_or_init(|| {
        AtomicU16::new((std::process::id() * 97 % u32::from(COUNT)).try_into().unwrap())
    });
    for _ in 0..COUNT {
        let port = LOWEST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {LOWEST} and {}", LOWEST + COUNT);
}
