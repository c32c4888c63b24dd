//! Timers of one connection to another broker: pings, and timeouts for a broker that does not answer.
//!
//! It does not sleep. The connection always reads: silence is the broker's.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::error::BrokerError;
use crate::broker::transport::keepalive::Keepalive;
use crate::broker::transport::mqtt_stream::{ANSWER_TIMEOUT, MqttStream};

/// A broker that answers pings answers each message within this time.
const PUBACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Allowed silence: one ping without an answer, and a half.
const SILENT_HALVES: u32 = 3;

/// Timers of one connection.
#[derive(Debug)]
pub struct RemoteTimers {
    keepalive: Keepalive,
    /// Upper bound for one packet.
    packet_patience: Duration,
}

/// What the connection last received, and what it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Outstanding {
    /// When the broker's last bytes arrived.
    pub last_received: Instant,
    /// When the packet began of which a part has come.
    pub packet_began: Option<Instant>,
    /// When the oldest PUBLISH without an answer was sent.
    pub oldest_message: Option<Instant>,
    /// When the oldest SUBSCRIBE without an answer was sent.
    pub oldest_subscribe: Option<Instant>,
    /// When bytes are overdue that the broker does not take.
    pub write_overdue: Option<Instant>,
}

// === impl RemoteTimers ===

impl RemoteTimers {
    /// Starts with CONNACK. The broker may set a keepalive; 0 leaves the pings to Sluice, which needs
    /// them to notice a broker that is gone.
    pub fn new(
        now: Instant,
        requested: Duration,
        server_keep_alive: Option<u16>,
        packet_patience: Duration,
    ) -> Self {
        let set = server_keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
        let every = match set.filter(|set| !set.is_zero()) {
            Some(set) if requested.is_zero() => set,
            Some(set) => set.min(requested),
            None => requested,
        };
        Self { keepalive: Keepalive::new(now, every, SILENT_HALVES), packet_patience }
    }

    /// When the next timer is due.
    pub fn next(&self, outstanding: Outstanding) -> Option<Instant> {
        [
            self.keepalive.ping_at(),
            self.keepalive.silent_at(outstanding.last_received),
            outstanding.packet_began.map(|began| began + self.packet_patience),
            outstanding.oldest_message.map(|sent| sent + PUBACK_TIMEOUT),
            outstanding.oldest_subscribe.map(|sent| sent + ANSWER_TIMEOUT),
            outstanding.write_overdue,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When a ping is due; `None`: never.
    pub fn ping_at(&self) -> Option<Instant> {
        self.keepalive.ping_at()
    }

    /// Whether a ping is due; judges nothing.
    pub fn take_ping(&mut self, now: Instant) -> bool {
        self.keepalive.take_ping(now)
    }

    /// Whether a ping is due. An error means that a timeout elapsed.
    pub fn check(&mut self, now: Instant, outstanding: Outstanding) -> Result<bool, BrokerError> {
        let is_late =
            |since: Option<Instant>, patience| since.is_some_and(|since| since + patience <= now);
        if is_late(outstanding.write_overdue, Duration::ZERO) {
            return Err(MqttStream::write_stall());
        }
        if is_late(outstanding.packet_began, self.packet_patience) {
            return Err(BrokerError::PacketStalled { seconds: self.packet_patience.as_secs() });
        }
        for (sent, packet, patience) in [
            (outstanding.oldest_subscribe, "SUBSCRIBE", ANSWER_TIMEOUT),
            (outstanding.oldest_message, "PUBLISH", PUBACK_TIMEOUT),
        ] {
            if is_late(sent, patience) {
                return Err(BrokerError::NoAnswer { packet, seconds: patience.as_secs() });
            }
        }
        self.keepalive.check_silence(now, outstanding.last_received)?;
        Ok(self.keepalive.take_ping(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quiet(last_received: Instant) -> Outstanding {
        Outstanding {
            last_received,
            packet_began: None,
            oldest_message: None,
            oldest_subscribe: None,
            write_overdue: None,
        }
    }

    #[test]
    fn the_shorter_keepalive_counts_and_zero_turns_no_pings_off() {
        let start = Instant::now();
        for (requested, set, every) in [
            (60, None, 60),
            (60, Some(5), 5),
            (60, Some(90), 60),
            (60, Some(0), 60),
            (0, Some(7), 7),
        ] {
            let timers = RemoteTimers::new(start, SECOND * requested, set, SECOND * 70);
            assert_eq!(timers.next(quiet(start)), Some(start + SECOND * every), "{set:?}");
        }
        let without = RemoteTimers::new(start, Duration::ZERO, None, SECOND * 70);
        assert_eq!(without.next(quiet(start)), None);
    }

    #[test]
    fn each_answer_has_its_timeout() {
        let start = Instant::now();
        let mut timers = RemoteTimers::new(start, SECOND * 60, None, SECOND * 70);
        assert!(!timers.check(start + SECOND * 59, quiet(start)).unwrap());
        assert!(timers.check(start + SECOND * 60, quiet(start)).unwrap());
        let silent = timers.check(start + SECOND * 90, quiet(start));
        assert!(matches!(silent, Err(BrokerError::Silent { seconds: 90 })), "{silent:?}");
        let of = |change: fn(&mut Outstanding, Instant)| {
            let mut outstanding = quiet(start + SECOND * 40);
            change(&mut outstanding, start);
            outstanding
        };
        let mut check = |seconds, outstanding| timers.check(start + SECOND * seconds, outstanding);
        let message = of(|outstanding, start| outstanding.oldest_message = Some(start));
        assert!(check(29, message).is_ok());
        assert!(matches!(check(30, message), Err(BrokerError::NoAnswer { packet: "PUBLISH", .. })));
        let subscribe = of(|outstanding, start| outstanding.oldest_subscribe = Some(start));
        assert!(matches!(
            check(10, subscribe),
            Err(BrokerError::NoAnswer { packet: "SUBSCRIBE", .. })
        ));
        let part = of(|outstanding, start| {
            (outstanding.packet_began, outstanding.last_received) =
                (Some(start), start + SECOND * 69);
        });
        assert!(check(69, part).is_ok());
        assert!(matches!(check(70, part), Err(BrokerError::PacketStalled { seconds: 70 })));
        let stalled = of(|outstanding, start| outstanding.write_overdue = Some(start));
        assert!(matches!(check(0, stalled), Err(BrokerError::WriteStalled { .. })));
    }
}
