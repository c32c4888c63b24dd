//! Recognizes redelivered messages that no unique index recognizes, so that they are not stored or
//! counted twice.
//!
//! The table's index recognizes an accepted message with a `ts`. A message without a `ts` has
//! another time at each delivery, and a refused message has no key: these two are recognized by
//! packet identifier and content. These alone never decide: a broker may reuse the identifier for
//! an equal message once it may have read the acknowledgement. The session excludes that for a
//! delivery (`Delivery::redelivered`).

use std::collections::HashMap;

use uuid::Uuid;

/// The latest message of each packet identifier, so at most 65535.
#[derive(Debug, Default)]
pub struct RecentMessages(HashMap<u16, Uuid>);

// === impl RecentMessages ===

impl RecentMessages {
    /// Records a message that is in a batch.
    pub fn insert(&mut self, packet_id: u16, message: Uuid) {
        self.0.insert(packet_id, message);
    }

    /// Whether the latest message with this identifier is this one.
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
        assert!(
            !recent.contains(8, Uuid::from_u128(1)),
            "an equal message under another identifier is another"
        );
        assert!(!recent.contains(7, Uuid::from_u128(2)));
        recent.insert(7, Uuid::from_u128(2));
        assert!(
            !recent.contains(7, Uuid::from_u128(1)),
            "the identifier stands for another message by now"
        );
    }
}
