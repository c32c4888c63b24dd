//! When messages come thick, waits a moment before the next read, so that one wake-up serves many of them.
//!
//! Mosquitto writes each message by itself, and waking for each costs more than all else. A lone message never waits.

use std::time::Duration;

use tokio::time::Instant;

/// The pause before the next read: below what anyone waits for a commit.
const PAUSE: Duration = Duration::from_millis(1);

/// Over how long messages are counted, ...
const WINDOW: Duration = Duration::from_millis(2);

/// ... and how many in it make a crowd: from about 4,000 messages a second on.
const CROWD: usize = 8;

/// Counts what came lately.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    count: usize,
}

// === impl Pace ===

impl Pace {
    /// Begins to count.
    pub fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// After a read that brought `messages`: until when the next read should wait, if at all.
    pub fn pause_until(&mut self, now: Instant, messages: usize) -> Option<Instant> {
        if now.duration_since(self.since) > WINDOW {
            *self = Self::new(now);
        }
        self.count += messages;
        (self.count >= CROWD).then(|| now + PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_waits_and_a_trickle_does_not() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            now += Duration::from_millis(1);
            assert_eq!(pace.pause_until(now, 1), None);
        }
        now += Duration::from_millis(10);
        assert_eq!(pace.pause_until(now, 7), None);
        assert_eq!(pace.pause_until(now, 1), Some(now + PAUSE));
        assert_eq!(pace.pause_until(now + PAUSE, 50), Some(now + PAUSE + PAUSE));
        now += Duration::from_millis(10);
        assert_eq!(pace.pause_until(now, 1), None);
    }
}
