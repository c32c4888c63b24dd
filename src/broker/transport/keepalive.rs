//! When a connection pings, and when a silent broker is gone. It does not sleep.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::error::BrokerError;

/// Pings of one connection.
#[derive(Debug)]
pub struct Keepalive {
    every: Option<Duration>,
    /// The longest silence, in halves of `every`.
    halves: u32,
    pinged: Instant,
}

// === impl Keepalive ===

impl Keepalive {
    /// Pings at this interval; zero: never. The broker may be silent for this many halves of it.
    pub fn new(now: Instant, every: Duration, halves: u32) -> Self {
        Self { every: (!every.is_zero()).then_some(every), halves, pinged: now }
    }

    /// How often to ping.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// When the next ping is due.
    pub fn ping_at(&self) -> Option<Instant> {
        self.every.map(|every| self.pinged + every)
    }

    /// When a broker whose last bytes arrived at `last_received` is gone.
    pub fn silent_at(&self, last_received: Instant) -> Option<Instant> {
        Some(last_received + self.patience()?)
    }

    /// Whether a ping is due; it counts as sent.
    pub fn take_ping(&mut self, now: Instant) -> bool {
        let is_due = self.ping_at().is_some_and(|due| due <= now);
        if is_due {
            self.pinged = now;
        }
        is_due
    }

    /// An error if the broker is gone.
    pub fn check_silence(&self, now: Instant, last_received: Instant) -> Result<(), BrokerError> {
        match self.silent_at(last_received) {
            Some(gone) if gone <= now => {
                Err(BrokerError::Silent { seconds: self.patience().unwrap_or_default().as_secs() })
            }
            _ => Ok(()),
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.every.map(|every| every * self.halves / 2)
    }
}
