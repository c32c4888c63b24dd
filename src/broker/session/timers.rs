//! Timers of one connection: pings, and timeouts for a broker that does not answer.
//!
//! It does not sleep. No timeout runs while reading is paused: an answer may lie unread in the
//! socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::error::BrokerError;
use crate::broker::transport::keepalive::Keepalive;
use crate::broker::transport::mqtt_stream::ANSWER_TIMEOUT;

/// Allowed silence: two pings without an answer, and a half.
const SILENT_HALVES: u32 = 5;

/// Timers of one connection.
#[derive(Debug)]
pub struct Timers {
    keepalive: Keepalive,
    /// When SUBSCRIBE was sent; `None` after SUBACK.
    subscribe_sent: Option<Instant>,
    /// When reading last paused: silence counts only from then.
    held_back: Instant,
}

// === impl Timers ===

impl Timers {
    /// Starts with SUBSCRIBE; a `keepalive` of zero means no pings.
    pub fn new(now: Instant, keepalive: Duration) -> Self {
        Self {
            keepalive: Keepalive::new(now, keepalive, SILENT_HALVES),
            subscribe_sent: Some(now),
            held_back: now,
        }
    }

    /// How often to ping.
    pub fn keepalive(&self) -> Option<Duration> {
        self.keepalive.every()
    }

    /// Records SUBACK.
    pub fn subscribe_answered(&mut self) {
        self.subscribe_sent = None;
    }

    /// Records that SUBSCRIBE was sent again.
    pub fn subscribe_again(&mut self, now: Instant) {
        self.subscribe_sent = Some(now);
    }

    /// Whether SUBACK is outstanding.
    pub fn is_subscribing(&self) -> bool {
        self.subscribe_sent.is_some()
    }

    /// Records that reading is paused.
    pub fn hold_back(&mut self, now: Instant) {
        self.held_back = now;
    }

    /// When the next timer is due; the broker's last bytes arrived at `last_received`.
    pub fn next(&self, last_received: Instant, is_held_back: bool) -> Option<Instant> {
        let patience = if is_held_back {
            [None, None]
        } else {
            [self.silent_at(last_received), self.unanswered_at()]
        };
        patience.into_iter().chain([self.keepalive.ping_at()]).flatten().min()
    }

    /// Whether a ping is due. An error means that a timeout elapsed.
    pub fn check(
        &mut self,
        now: Instant,
        last_received: Instant,
        is_held_back: bool,
    ) -> Result<bool, BrokerError> {
        if !is_held_back && self.unanswered_at().is_some_and(|due| due <= now) {
            return Err(BrokerError::NoAnswer {
                packet: "SUBSCRIBE",
                seconds: ANSWER_TIMEOUT.as_secs(),
            });
        }
        if !is_held_back {
            self.keepalive.check_silence(now, last_received.max(self.held_back))?;
        }
        Ok(self.keepalive.take_ping(now))
    }

    fn unanswered_at(&self) -> Option<Instant> {
        self.subscribe_sent
            .map(|subscribe_sent| subscribe_sent.max(self.held_back) + ANSWER_TIMEOUT)
    }

    fn silent_at(&self, last_received: Instant) -> Option<Instant> {
        self.keepalive.silent_at(last_received.max(self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(10);

    #[test]
    fn a_ping_is_due_each_keepalive_and_a_silent_broker_times_out_after_two_and_a_half() {
        let start = Instant::now();
        let mut timers = Timers::new(start, KEEPALIVE);
        timers.subscribe_answered();
        assert_eq!(timers.next(start, false), Some(start + KEEPALIVE));
        assert!(!timers.check(start + KEEPALIVE / 2, start, false).unwrap());
        assert!(timers.check(start + KEEPALIVE, start, false).unwrap());
        assert!(timers.check(start + KEEPALIVE * 2, start, false).unwrap());
        assert_eq!(timers.next(start, false), Some(start + Duration::from_secs(25)));
        assert!(matches!(
            timers.check(start + Duration::from_secs(25), start, false),
            Err(BrokerError::Silent { .. })
        ));
    }

    #[test]
    fn no_timeout_elapses_while_reading_is_paused_nor_counts_that_time_later() {
        let start = Instant::now();
        let mut timers = Timers::new(start, KEEPALIVE);
        let later = start + Duration::from_hours(1);
        assert!(timers.check(later, start, true).unwrap());
        timers.hold_back(later);
        assert!(!timers.check(later, start, false).unwrap());
        assert!(matches!(
            timers.check(later + ANSWER_TIMEOUT, start, false),
            Err(BrokerError::NoAnswer { .. })
        ));
    }

    #[test]
    fn without_a_keepalive_nothing_is_due_once_the_broker_has_answered() {
        let start = Instant::now();
        let mut timers = Timers::new(start, Duration::ZERO);
        timers.subscribe_answered();
        assert_eq!(timers.next(start, false), None);
    }
}
