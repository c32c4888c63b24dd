//! After a read that brought messages, waits before the next, so that one wake-up serves many of them.
//!
//! Mosquitto writes each message by itself, and waking for each costs more than all else. A message waits for company
//! anyway, before its batch goes; so it may as well wait in the socket. The first one after a quiet moment is read at once.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that a message waits in the socket, give or take a gap, however long it may wait for company.
const LONGEST: Duration = Duration::from_millis(5);

/// The pause after a read that brought [`MUCH`]: in a flood the socket's buffer must not fill, or the broker drops QoS 0.
const SHORTEST: Duration = Duration::from_millis(1);

/// So many bytes in one read are a flood: a quarter of what a socket holds at the least.
const MUCH: usize = 32 * 1024;

/// With fewer packets in a read, the gap between two is too uncertain to wait for.
const FEW: u32 = 4;

/// How long to pause.
#[derive(Clone, Copy, Debug)]
pub struct ReadPacing {
    pause: Duration,
}

// === impl Pace ===

impl ReadPacing {
    /// For messages that wait so long for company.
    pub fn new(linger: Duration) -> Self {
        Self { pause: linger.min(LONGEST) }
    }

    /// After a read that brought so many packets and bytes: until when the next read should wait, if at all.
    pub fn pause_until(self, now: Instant, packets: usize, bytes: usize) -> Option<Instant> {
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        if packets == 0 || self.pause.is_zero() {
            return None;
        }
        // The next message is not there yet; where as many come as before, it comes one gap from now, and waits from then on.
        let gap = self.pause / packets.max(FEW);
        Some(now + if bytes >= MUCH { self.pause.min(SHORTEST) } else { self.pause + gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_brought_nothing_or_a_road_without_linger_makes_no_pause_and_a_flood_a_short_one() {
        let now = Instant::now();
        let pause = |linger: u64, packets, bytes| {
            let until = ReadPacing::new(Duration::from_millis(linger)).pause_until(now, packets, bytes);
            until.map(|until| until - now)
        };
        assert_eq!(pause(5, 0, 0), None);
        assert_eq!(pause(0, 9, 9), None);
        assert_eq!(pause(3, 10, 9), Some(Duration::from_micros(3_300)));
        assert_eq!(pause(3, 1, 9), Some(Duration::from_micros(3_750)));
        assert_eq!(pause(10_000, 100, 9), Some(LONGEST + LONGEST / 100));
        assert_eq!(pause(5, 200, MUCH), Some(SHORTEST));
    }
}
