//! Which packet identifiers still stand, on a new connection, for the messages they stood for on the one before.
//!
//! A broker may use an identifier again as soon as it has read its acknowledgement, and whether it has cannot be known once
//! the acknowledgement is written: the connection may have ended before or after. So an identifier is believed under all of
//! these conditions, and under none fewer:
//! - the message was handed over and **no acknowledgement was written** for it, so no broker had a reason to free it;
//! - the session was **resumed**, and by the **very next CONNECT**: a broker that was killed and came back with an older
//!   state may deal identifiers again, but what it marks DUP on the first connection after that it sent before it was killed;
//! - it is marked **DUP**, and comes once for each time it was handed over.
//!
//! What this does not cover is stored again: twice is allowed for a message without a time of its own, never is not.

use std::collections::HashMap;

/// The identifiers, and of how many messages each.
#[derive(Debug, Default)]
pub struct Returning {
    /// Of the connection at hand.
    expected: HashMap<u16, u32>,
    /// For the next connection.
    left_over: HashMap<u16, u32>,
}

// === impl Returning ===

impl Returning {
    /// A connection has ended; these messages were handed over and not acknowledged.
    pub fn connection_ended(&mut self, unacknowledged: impl Iterator<Item = u16>) {
        self.left_over.clear();
        for packet_id in unacknowledged {
            *self.left_over.entry(packet_id).or_default() += 1;
        }
    }

    /// CONNECT is about to be written. What an attempt before this one did not settle is forgotten.
    pub fn connecting(&mut self) {
        self.expected = std::mem::take(&mut self.left_over);
    }

    /// The broker lost the session, or another client had it: every identifier may stand for anything.
    pub fn forget(&mut self) {
        self.expected.clear();
        self.left_over.clear();
    }

    /// A message came under this identifier: whether it is certainly one that was handed over before.
    pub fn came(&mut self, packet_id: u16, dup: bool) -> bool {
        if self.expected.is_empty() {
            return false;
        }
        let Some(left) = self.expected.get_mut(&packet_id).filter(|left| **left > 0) else { return false };
        *left = if dup { *left - 1 } else { 0 };
        dup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_with(ids: &[u16]) -> Returning {
        let mut returning = Returning::default();
        returning.connection_ended(ids.iter().copied());
        returning.connecting();
        returning
    }

    #[test]
    fn what_was_not_acknowledged_is_expected_once_for_each_time_and_on_the_next_connection_alone() {
        let mut returning = ended_with(&[7, 8, 8]);
        assert!(returning.came(7, true));
        assert!(!returning.came(7, true), "it was handed over once");
        assert!(returning.came(8, true) && returning.came(8, true) && !returning.came(8, true));
        assert!(!returning.came(9, true), "it was acknowledged, or never handed over");
    }

    #[test]
    fn an_attempt_in_between_ends_all_that_was_expected() {
        let mut returning = ended_with(&[7]);
        returning.connecting();
        assert!(!returning.came(7, true));
    }

    #[test]
    fn an_identifier_that_was_dealt_again_stands_for_another_message() {
        let mut returning = ended_with(&[7]);
        assert!(!returning.came(7, false));
        assert!(!returning.came(7, true));
    }

    #[test]
    fn a_lost_session_leaves_nothing() {
        let mut returning = ended_with(&[7]);
        returning.forget();
        assert!(!returning.came(7, true));
    }
}
