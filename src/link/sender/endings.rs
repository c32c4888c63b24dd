//! What the ends of a lane's connections mean: a message that the other broker does not bear, a
//! login or a policy that it answers by hanging up, or an outage.
//!
//! It counts and decides; it neither sends nor removes anything.

use std::time::Duration;

/// A connection that the other broker ended within this time after CONNACK ended quickly.
pub(super) const QUICK: Duration = Duration::from_secs(5);

/// So many quick ends in a row are flapping.
const FLAPPING_AFTER: u32 = 3;

/// After so many ends with the same oldest message in flight, it is sent alone.
const ALONE_AFTER: u32 = 3;

/// So many messages in a row that ended connections are no accident: the cause is no single message.
const FEW_CULPRITS: u32 = 3;

/// The packet that the lane had sent last when the other broker ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastPacket {
    /// Only CONNECT.
    Connect,
    /// SUBSCRIBE.
    Subscribe,
    /// PUBLISH.
    Publish,
}

/// After so many held topics in a row the cause is likely none of them.
const MANY_HELD: u32 = 8;

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionEnd {
    /// The oldest message that was in flight.
    pub(super) oldest: Option<i64>,
    /// Whether it was the only one.
    pub(super) was_alone: bool,
    /// From CONNACK to the end.
    pub(super) lasted: Duration,
    /// The last packet.
    pub(super) last: LastPacket,
    /// Whether the other broker ended it; else the network, or Sluice.
    pub(super) by_broker: bool,
    /// Whether a message was acknowledged on it.
    pub(super) made_progress: bool,
}

/// What follows from an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// Connect again.
    Retry,
    /// Connect again, slowly, and say that the link is flapping.
    Flapping,
    /// This message ends each connection: it becomes a dead letter.
    Culprit(i64),
    /// This message ended the connection, as several before it did: its topic waits.
    HoldTopic(i64),
}

/// The recent ends of a lane.
#[derive(Debug, Default)]
pub(super) struct LaneEndings {
    /// The message that was the oldest one in flight at the last ends, and their number.
    suspect: Option<(i64, u32)>,
    quick: u32,
    /// Messages in a row that became dead letters because they ended connections.
    culprits: u32,
    /// Topics in a row that wait for the same reason.
    held: u32,
    /// Most messages in flight, while a suspect is sought.
    window: Option<usize>,
}

// === impl LaneEndings ===

impl LaneEndings {
    /// Records the end of a connection.
    pub(super) fn ended(&mut self, end: &ConnectionEnd, window: usize) -> Conclusion {
        if end.made_progress {
            self.quick = 0;
        }
        if !end.by_broker {
            return Conclusion::Retry;
        }
        self.quick = if end.lasted < QUICK { self.quick + 1 } else { 0 };
        let Some(oldest) = end.oldest else {
            self.suspect = None;
            return self.flapping_or_retry();
        };
        let ends = match self.suspect {
            Some((suspect, ends)) if suspect == oldest => ends + 1,
            _ => 1,
        };
        self.suspect = Some((oldest, ends));
        if self.culprits >= FEW_CULPRITS && end.was_alone && end.lasted < QUICK {
            self.held += 1;
            self.suspect = None;
            return Conclusion::HoldTopic(oldest);
        }
        if ends < ALONE_AFTER {
            let limit = self.window.unwrap_or(window);
            if ends > 1 {
                self.window = Some((limit / 8).max(1));
            }
            return Conclusion::Retry;
        }
        if ends == ALONE_AFTER || !end.was_alone {
            self.window = Some(1);
            return Conclusion::Retry;
        }
        // An end long after the message was sent has another cause.
        if end.lasted >= QUICK {
            return self.flapping_or_retry();
        }
        self.culprits += 1;
        self.quick = 0;
        self.suspect = None;
        Conclusion::Culprit(oldest)
    }

    /// Records an acknowledgement: the connection works, and the window grows again.
    pub(super) fn acknowledged(&mut self, id: i64) {
        (self.culprits, self.held) = (0, 0);
        if self.suspect.is_some_and(|(suspect, _)| suspect == id) {
            self.suspect = None;
        }
        self.window = match self.window {
            Some(window) if window < 1024 => Some(window + 1),
            _ => None,
        };
    }

    /// Most messages that may be in flight now.
    pub(super) fn window(&self) -> usize {
        self.window.unwrap_or(usize::MAX)
    }

    /// Whether messages are sent one by one to find the one that ends connections: the other broker
    /// accepts the login, so the attempts follow soon.
    pub(super) fn is_seeking(&self) -> bool {
        self.window == Some(1) && self.suspect.is_some()
    }

    /// Whether so many topics wait that the cause is likely none of them.
    pub(super) fn has_held_many(&self) -> bool {
        self.held > MANY_HELD
    }

    fn flapping_or_retry(&self) -> Conclusion {
        if self.quick >= FLAPPING_AFTER { Conclusion::Flapping } else { Conclusion::Retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(oldest: Option<i64>, was_alone: bool) -> ConnectionEnd {
        ConnectionEnd {
            oldest,
            was_alone,
            lasted: Duration::from_secs(1),
            last: LastPacket::Publish,
            by_broker: true,
            made_progress: false,
        }
    }

    #[test]
    fn a_message_that_ends_three_connections_is_sent_alone_and_then_becomes_a_dead_letter() {
        let mut endings = LaneEndings::default();
        for _ in 0..2 {
            assert_eq!(endings.ended(&end(Some(7), false), 1000), Conclusion::Retry);
            assert!(endings.window() > 1);
        }
        assert_eq!(endings.ended(&end(Some(7), false), 1000), Conclusion::Retry);
        assert_eq!(endings.window(), 1);
        assert_eq!(endings.ended(&end(Some(7), true), 1000), Conclusion::Culprit(7));
    }

    #[test]
    fn a_message_that_is_acknowledged_or_no_longer_the_oldest_is_no_suspect() {
        let mut endings = LaneEndings::default();
        for _ in 0..3 {
            endings.ended(&end(Some(7), false), 1000);
        }
        endings.acknowledged(7);
        assert_eq!(endings.window(), 2, "the window grows slowly");
        assert_eq!(endings.ended(&end(Some(8), false), 1000), Conclusion::Retry);
        assert_eq!(endings.ended(&end(Some(9), false), 1000), Conclusion::Retry);
        assert!((0..2000).all(|_| {
            endings.acknowledged(1);
            true
        }));
        assert_eq!(endings.window(), usize::MAX);
    }

    #[test]
    fn after_many_culprits_in_a_row_their_topics_wait_and_no_further_message_is_lost() {
        let mut endings = LaneEndings::default();
        let mut conclude = |id| endings.ended(&end(Some(id), true), 1000);
        for id in 0..3 {
            let ends = [(); 4].map(|()| conclude(id));
            assert_eq!(ends[3], Conclusion::Culprit(id), "{ends:?}");
        }
        for id in 3..12 {
            assert_eq!(conclude(id), Conclusion::HoldTopic(id), "at its first end");
        }
        assert!(endings.has_held_many());
        endings.acknowledged(99);
        assert!(!endings.has_held_many());
        assert_eq!(endings.ended(&end(Some(13), true), 1000), Conclusion::Retry);
    }

    #[test]
    fn three_quick_ends_without_a_message_are_flapping() {
        let mut endings = LaneEndings::default();
        let ends = [(); 4].map(|()| endings.ended(&end(None, false), 20));
        assert_eq!(ends[..3], [Conclusion::Retry, Conclusion::Retry, Conclusion::Flapping]);
        let long = ConnectionEnd { lasted: Duration::from_mins(1), ..end(None, false) };
        assert_eq!(endings.ended(&long, 20), Conclusion::Retry);
        let network = ConnectionEnd { by_broker: false, ..end(None, false) };
        assert!((0..9).all(|_| endings.ended(&network, 20) == Conclusion::Retry));
    }
}
