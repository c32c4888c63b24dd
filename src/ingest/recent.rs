//! Remembers messages that no unique index can tell, so that a redelivery of one is not stored or counted twice.
//!
//! An accepted message that carries `ts` is told by the table's index. One without would get a new time at each delivery,
//! and a refused one has no key at all; so these are told by packet identifier and content, which a redelivery repeats.
//! It is never guessed by content alone: two equal heartbeats are two messages. Nor for long: a broker deals identifiers
//! out in turn, so within half a turn an identifier stands for one message, and after that it may stand for another, equal
//! one that must not be taken for it.

use std::collections::HashMap;

use uuid::Uuid;

/// Half of the identifiers there are, and more than two of the widest window that is advised.
const HALF_A_TURN: u64 = 32_768;

/// The latest message under each identifier, so at most 65535.
#[derive(Debug, Default)]
pub struct Recent {
    latest: HashMap<u16, Seen>,
    deliveries: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    message: Uuid,
    at: u64,
}

// === impl Recent ===

impl Recent {
    /// A delivery that carries an identifier has come, whether or not it will be remembered.
    pub fn count(&mut self) {
        self.deliveries += 1;
    }

    /// Remembers a message that is on its way to its table.
    pub fn insert(&mut self, packet_id: u16, message: Uuid) {
        self.latest.insert(packet_id, Seen { message, at: self.deliveries });
    }

    /// Whether this very packet was seen lately.
    pub fn contains(&self, packet_id: u16, message: Uuid) -> bool {
        let seen = self.latest.get(&packet_id);
        seen.is_some_and(|seen| seen.message == message && self.deliveries - seen.at < HALF_A_TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_identifier_and_content_together() {
        let mut recent = Recent::default();
        recent.insert(7, Uuid::from_u128(1));
        assert!(recent.contains(7, Uuid::from_u128(1)));
        assert!(!recent.contains(8, Uuid::from_u128(1)), "an equal message under another identifier is another");
        assert!(!recent.contains(7, Uuid::from_u128(2)));
    }

    #[test]
    fn an_identifier_that_was_dealt_out_anew_stands_for_another_message() {
        let mut recent = Recent::default();
        recent.insert(7, Uuid::from_u128(1));
        recent.insert(7, Uuid::from_u128(2));
        assert!(!recent.contains(7, Uuid::from_u128(1)));
        (1..HALF_A_TURN).for_each(|_| recent.count());
        assert!(recent.contains(7, Uuid::from_u128(2)));
        recent.count();
        assert!(
            !recent.contains(7, Uuid::from_u128(2)),
            "an equal heartbeat may have got it since, and was never seen"
        );
    }
}
