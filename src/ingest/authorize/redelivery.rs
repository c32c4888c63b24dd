//! Remembers messages that no unique index can tell, so that a redelivery of one is not stored or counted twice.
//!
//! An accepted message that carries `ts` is told by the table's index. One without would get a new time at each delivery,
//! and a refused one has no key at all; so these are told by packet identifier and content, which a redelivery repeats.
//! It never decides by that alone: a broker may give the identifier to another, equal message as soon as it may have read
//! the acknowledgement. The session says of a delivery whether that is excluded (`Delivery::redelivered`).

use std::collections::HashMap;

use uuid::Uuid;

/// The latest message under each identifier, so at most 65535.
#[derive(Debug, Default)]
pub struct RecentMessages(HashMap<u16, Uuid>);

// === impl Recent ===

impl RecentMessages {
    /// Remembers a message that is on its way to its table.
    pub fn insert(&mut self, packet_id: u16, message: Uuid) {
        self.0.insert(packet_id, message);
    }

    /// Whether the latest message under this identifier is this one.
    pub fn contains(&self, packet_id: u16, message: Uuid) -> bool {
        self.0.get(&packet_id) == Some(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_identifier_and_content_together() {
        let mut recent = RecentMessages::default();
        recent.insert(7, Uuid::from_u128(1));
        assert!(recent.contains(7, Uuid::from_u128(1)));
        assert!(!recent.contains(8, Uuid::from_u128(1)), "an equal message under another identifier is another");
        assert!(!recent.contains(7, Uuid::from_u128(2)));
        recent.insert(7, Uuid::from_u128(2));
        assert!(!recent.contains(7, Uuid::from_u128(1)), "the identifier stands for another message by now");
    }
}
