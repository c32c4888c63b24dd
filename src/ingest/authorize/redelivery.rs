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

/// A packet identifier at the local broker (`None`) or at the other broker of a link.
pub type Packet = (Option<u32>, u16);

/// The latest message of each packet identifier, so at most 65535 for each broker.
#[derive(Debug, Default)]
pub struct RecentMessages(HashMap<Packet, Uuid>);

// === impl RecentMessages ===

impl RecentMessages {
    /// Records a message that is in a batch.
    pub fn insert(&mut self, packet: Packet, message: Uuid) {
        self.0.insert(packet, message);
    }

    /// Whether the latest message with this identifier is this one.
    pub fn contains(&self, packet: Packet, message: Uuid) -> bool {
        self.0.get(&packet) == Some(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_by_identifier_and_content_together() {
        let mut recent = RecentMessages::default();
        recent.insert((None, 7), Uuid::from_u128(1));
        assert!(recent.contains((None, 7), Uuid::from_u128(1)));
        assert!(
            !recent.contains((None, 8), Uuid::from_u128(1)),
            "an equal message under another identifier is another"
        );
        assert!(!recent.contains((None, 7), Uuid::from_u128(2)));
        assert!(!recent.contains((Some(0), 7), Uuid::from_u128(1)), "of another broker");
        recent.insert((None, 7), Uuid::from_u128(2));
        assert!(
            !recent.contains((None, 7), Uuid::from_u128(1)),
            "the identifier stands for another message by now"
        );
    }
}
