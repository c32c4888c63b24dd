//! Timers of one connection of the exchange: pings, and timeouts for a broker that does not answer.
//!
//! It does not sleep. Unlike the session, the exchange always reads: silence is the broker's.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::error::BrokerError;
use crate::broker::transport::keepalive::Keepalive;
use crate::broker::transport::mqtt_stream::ANSWER_TIMEOUT;

/// After the broker has granted the marker's subscription, the marker arrives within this time or
/// there is none.
const MARKER_PATIENCE: Duration = Duration::from_secs(1);

/// Allowed silence: one ping without an answer, and a half.
const SILENT_HALVES: u32 = 3;

/// A broker that answers pings answers each message within this time.
const PUBACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Timers of one connection of the exchange.
#[derive(Debug)]
pub struct ExchangeTimers {
    keepalive: Keepalive,
    /// When a SUBSCRIBE was sent that is not answered.
    subscribe_sent: Option<Instant>,
    /// When the marker's subscription was granted, if the marker has not arrived.
    marker_granted: Option<Instant>,
}

/// What the connection last received, and what it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// When the broker's last bytes arrived.
    pub last_received: Instant,
    /// When the oldest unanswered message was sent.
    pub oldest_message: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueTimers {
    /// A ping.
    pub ping: bool,
    /// The marker has not arrived in time.
    pub marker_is_late: bool,
}

// === impl ExchangeTimers ===

impl ExchangeTimers {
    /// Starts with a SUBSCRIBE.
    pub fn new(now: Instant, keepalive: Duration) -> Self {
        let keepalive = Keepalive::new(now, keepalive, SILENT_HALVES);
        Self { keepalive, subscribe_sent: Some(now), marker_granted: None }
    }

    /// Records a SUBSCRIBE.
    pub fn subscribed(&mut self, now: Instant) {
        self.subscribe_sent = Some(now);
    }

    /// Records that every SUBSCRIBE is answered.
    pub fn subscribe_answered(&mut self) {
        self.subscribe_sent = None;
    }

    /// Records that the marker may arrive from now on.
    pub fn await_marker(&mut self, now: Instant) {
        self.marker_granted = Some(now);
    }

    /// When the next timer is due.
    pub fn next(&self, pending: Pending) -> Option<Instant> {
        [
            self.keepalive.ping_at(),
            self.keepalive.silent_at(pending.last_received),
            self.unanswered_at(),
            self.marker_late_at(),
            pending.oldest_message.map(|sent| sent + PUBACK_TIMEOUT),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is due. An error means that a timeout elapsed.
    pub fn check(&mut self, now: Instant, pending: Pending) -> Result<DueTimers, BrokerError> {
        let is_past = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_past(self.unanswered_at()) {
            return Err(no_answer("SUBSCRIBE", ANSWER_TIMEOUT));
        }
        if is_past(pending.oldest_message.map(|sent| sent + PUBACK_TIMEOUT)) {
            return Err(no_answer("PUBLISH", PUBACK_TIMEOUT));
        }
        self.keepalive.check_silence(now, pending.last_received)?;
        let due = DueTimers {
            ping: self.keepalive.take_ping(now),
            marker_is_late: is_past(self.marker_late_at()),
        };
        if due.marker_is_late {
            self.marker_granted = None;
        }
        Ok(due)
    }

    fn unanswered_at(&self) -> Option<Instant> {
        self.subscribe_sent.map(|sent| sent + ANSWER_TIMEOUT)
    }

    fn marker_late_at(&self) -> Option<Instant> {
        self.marker_granted.map(|granted| granted + MARKER_PATIENCE)
    }
}

// --- private helpers ---

fn no_answer(packet: &'static str, patience: Duration) -> BrokerError {
    BrokerError::NoAnswer { packet, seconds: patience.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(4);

    #[test]
    fn a_broker_that_does_not_answer_one_ping_is_silent_after_one_and_a_half_keepalives() {
        let start = Instant::now();
        let mut timers = ExchangeTimers::new(start, KEEPALIVE);
        timers.subscribe_answered();
        let pending = Pending { last_received: start, oldest_message: None };
        assert_eq!(timers.next(pending), Some(start + KEEPALIVE));
        assert!(timers.check(start + KEEPALIVE, pending).unwrap().ping);
        assert_eq!(timers.next(pending), Some(start + KEEPALIVE * 3 / 2));
        assert!(matches!(
            timers.check(start + KEEPALIVE * 3 / 2, pending),
            Err(BrokerError::Silent { seconds: 6 })
        ));
        let answered = Pending { last_received: start + KEEPALIVE, ..pending };
        assert_eq!(timers.next(answered), Some(start + KEEPALIVE * 2));
    }

    #[test]
    fn each_answer_has_its_own_timeout() {
        let start = Instant::now();
        let mut timers = ExchangeTimers::new(start, KEEPALIVE);
        let late = start + PUBACK_TIMEOUT;
        let mut pending = Pending { last_received: late, oldest_message: None };
        assert!(matches!(
            timers.check(late, pending),
            Err(BrokerError::NoAnswer { packet: "SUBSCRIBE", .. })
        ));
        timers.subscribe_answered();
        timers.await_marker(start);
        assert!(timers.check(late, pending).unwrap().marker_is_late);
        assert!(!timers.check(late, pending).unwrap().marker_is_late, "only once");
        pending.oldest_message = Some(start);
        assert!(matches!(
            timers.check(late, pending),
            Err(BrokerError::NoAnswer { packet: "PUBLISH", .. })
        ));
    }
}
