//! SUBSCRIBE and UNSUBSCRIBE packets that another broker has not answered.
//!
//! It judges no answer, except one that has not a code for each filter.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::broker::transport::malformed::Malformed;

/// Most of them at a time. Their packet identifiers are below those of PUBLISH.
const MOST: u16 = 256;

/// The type of SUBACK.
const SUBACK: u8 = 9;

/// Unanswered SUBSCRIBE packets of one connection.
#[derive(Debug, Default)]
pub struct OpenSubscribes {
    last_id: u16,
    sent: BTreeMap<u16, SentSubscribe>,
}

/// A SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
struct SentSubscribe {
    filters: usize,
    at: Instant,
}

// === impl OpenSubscribes ===

impl OpenSubscribes {
    /// A free packet identifier; `None`: too many are unanswered.
    pub fn next_id(&mut self) -> Option<u16> {
        let id = (1..=MOST)
            .map(|step| (self.last_id + step - 1) % MOST + 1)
            .find(|id| !self.sent.contains_key(id))?;
        self.last_id = id;
        Some(id)
    }

    /// Records a SUBSCRIBE to this many filters.
    pub fn record_sent(&mut self, packet_id: u16, filters: usize, at: Instant) {
        self.sent.insert(packet_id, SentSubscribe { filters, at });
    }

    /// Records a SUBACK; false: no SUBSCRIBE has this identifier.
    pub fn answered(&mut self, packet_id: u16, codes: &[u8]) -> Result<bool, Malformed> {
        match self.sent.remove(&packet_id) {
            None => Ok(false),
            Some(sent) if sent.filters == codes.len() => Ok(true),
            Some(_) => Err(Malformed::Body(SUBACK)),
        }
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.sent.values().map(|sent| sent.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identifier_is_used_once_until_it_is_answered_with_a_code_for_each_filter() {
        let mut open = OpenSubscribes::default();
        let now = Instant::now();
        for expected in 1..=MOST {
            let id = open.next_id().unwrap();
            assert_eq!(id, expected);
            open.record_sent(id, 2, now);
        }
        assert_eq!(open.next_id(), None);
        assert_eq!(open.answered(7, &[1, 0x87]), Ok(true));
        assert_eq!(open.answered(7, &[1, 1]), Ok(false));
        assert_eq!(open.next_id(), Some(7));
        assert_eq!(open.answered(8, &[1]), Err(Malformed::Body(SUBACK)));
        assert_eq!(open.answered(9, &[1, 1, 1]), Err(Malformed::Body(SUBACK)));
    }
}
