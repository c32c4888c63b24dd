//! Remembers messages that no unique index can tell, so that a redelivery of one is not stored or counted twice.
//!
//! An accepted message that carries `ts` is told by the table's index. One without would get a new time at each delivery,
//! and a refused one has no key at all; so these are told by packet identifier and content, which a redelivery repeats.
//! It is never guessed by content alone: two equal heartbeats are two messages.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// So many are remembered: more than two of the widest in-flight windows (65535).
const CAPACITY: usize = 131_072;

/// The most recent ones, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    order: VecDeque<(u16, Uuid)>,
    known: HashSet<(u16, Uuid)>,
}

// === impl Recent ===

impl Recent {
    /// Remembers a message that is on its way to the table. False when it is known already.
    pub fn insert(&mut self, packet_id: u16, message: Uuid) -> bool {
        if !self.known.insert((packet_id, message)) {
            return false;
        }
        self.order.push_back((packet_id, message));
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether this very packet was seen.
    pub fn contains(&self, packet_id: u16, message: Uuid) -> bool {
        self.known.contains(&(packet_id, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_identifier_and_content_together() {
        let mut recent = Recent::default();
        assert!(recent.insert(7, Uuid::from_u128(1)));
        assert!(recent.contains(7, Uuid::from_u128(1)));
        assert!(!recent.contains(8, Uuid::from_u128(1)), "an equal message under another identifier is another");
        assert!(!recent.contains(7, Uuid::from_u128(2)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_memory_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..CAPACITY + 10 {
            recent.insert(1, Uuid::from_u128(number as u128));
        }
        assert_eq!(recent.known.len(), CAPACITY);
        assert!(!recent.contains(1, Uuid::from_u128(9)));
        assert!(recent.contains(1, Uuid::from_u128(10)));
    }
}
