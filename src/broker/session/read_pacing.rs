//! Delays the next read after a read that brought messages, so that one wake-up serves many of
//! them.
//!
//! Mosquitto writes each message separately, and a wake-up for each costs more than all other work.
//! A message waits for its batch anyway; it may as well wait in the socket. The first message after
//! a pause is read at once.

use std::time::Duration;

use tokio::time::Instant;

/// Upper bound for the wait in the socket, plus at most one gap, whatever the linger is.
const LONGEST: Duration = Duration::from_millis(5);

/// Pause after a read of [`MUCH`] bytes: if the socket's buffer fills in a flood, the broker drops
/// QoS 0.
const SHORTEST: Duration = Duration::from_millis(1);

/// A read of this many bytes is a flood: a quarter of the smallest socket buffer.
const MUCH: usize = 32 * 1024;

/// With fewer packets in a read, the gap between two is too uncertain.
const FEW: u32 = 4;

/// Computes the pause.
#[derive(Clone, Copy, Debug)]
pub struct ReadPacing {
    pause: Duration,
}

// === impl ReadPacing ===

impl ReadPacing {
    /// Pacing for batches with this `linger`.
    pub fn new(linger: Duration) -> Self {
        Self { pause: linger.min(LONGEST) }
    }

    /// Until when to delay the next read, after a read of `packets` and `bytes`; `None` means no
    /// delay.
    pub fn pause_until(self, now: Instant, packets: usize, bytes: usize) -> Option<Instant> {
        let packets = u32::try_from(packets).unwrap_or(u32::MAX);
        if packets == 0 || self.pause.is_zero() {
            return None;
        }
        // The next message has not arrived. At an even rate it arrives one gap from now, and waits
        // from then on.
        let gap = self.pause / packets.max(FEW);
        Some(now + if bytes >= MUCH { self.pause.min(SHORTEST) } else { self.pause + gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_read_or_a_zero_linger_makes_no_pause_and_a_flood_a_short_one() {
        let now = Instant::now();
        let pause = |linger: u64, packets, bytes| {
            let until =
                ReadPacing::new(Duration::from_millis(linger)).pause_until(now, packets, bytes);
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
