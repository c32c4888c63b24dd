//! Which packet identifiers on a new connection stand for the same messages as on the connection
//! before.
//!
//! A broker may reuse an identifier once it has read its acknowledgement. After the acknowledgement
//! is written, a lost connection leaves open whether the broker read it. So an identifier is
//! trusted only if all of these hold:
//! - the message was enqueued and **no acknowledgement was written** for it, so the broker had no
//!   reason to free it;
//! - the session was **resumed**, by the **very next CONNECT**: a broker that restarts with an
//!   older state may reuse identifiers, but a DUP on the first connection after that was sent
//!   before the restart;
//! - it is marked **DUP**, and arrives once for each time it was enqueued.
//!
//! Other repeated messages are stored again: twice is allowed for a message without a `ts`, a loss
//! is not.

use std::collections::HashMap;

/// Identifiers, each with its number of messages.
#[derive(Debug, Default)]
pub struct ResumedIdentifiers {
    /// Expected on the current connection.
    expected: HashMap<u16, u32>,
    /// Expected on the next connection.
    left_over: HashMap<u16, u32>,
}

// === impl ResumedIdentifiers ===

impl ResumedIdentifiers {
    /// Records the identifiers that an ended connection enqueued and did not acknowledge.
    pub fn connection_ended(&mut self, unacknowledged: impl Iterator<Item = u16>) {
        self.left_over.clear();
        for packet_id in unacknowledged {
            *self.left_over.entry(packet_id).or_default() += 1;
        }
    }

    /// Records that CONNECT is about to be written. Discards what the previous attempt left.
    pub fn connecting(&mut self) {
        self.expected = std::mem::take(&mut self.left_over);
    }

    /// Discards everything: the broker lost the session, or another client used it.
    pub fn forget(&mut self) {
        self.expected.clear();
        self.left_over.clear();
    }

    /// Whether a message with this identifier is certainly one that was enqueued before.
    pub fn check_resent(&mut self, packet_id: u16, dup: bool) -> bool {
        if self.expected.is_empty() {
            return false;
        }
        let Some(left) = self.expected.get_mut(&packet_id).filter(|left| **left > 0) else {
            return false;
        };
        *left = if dup { *left - 1 } else { 0 };
        dup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_with(ids: &[u16]) -> ResumedIdentifiers {
        let mut resumed = ResumedIdentifiers::default();
        resumed.connection_ended(ids.iter().copied());
        resumed.connecting();
        resumed
    }

    #[test]
    fn unacknowledged_messages_are_expected_once_each_and_only_on_the_next_connection() {
        let mut resumed = ended_with(&[7, 8, 8]);
        assert!(resumed.check_resent(7, true));
        assert!(!resumed.check_resent(7, true), "it was enqueued once");
        assert!(
            resumed.check_resent(8, true)
                && resumed.check_resent(8, true)
                && !resumed.check_resent(8, true)
        );
        assert!(!resumed.check_resent(9, true), "it was acknowledged, or never enqueued");
    }

    #[test]
    fn an_attempt_in_between_ends_all_that_was_expected() {
        let mut resumed = ended_with(&[7]);
        resumed.connecting();
        assert!(!resumed.check_resent(7, true));
    }

    #[test]
    fn an_identifier_that_the_broker_reused_stands_for_another_message() {
        let mut resumed = ended_with(&[7]);
        assert!(!resumed.check_resent(7, false));
        assert!(!resumed.check_resent(7, true));
    }

    #[test]
    fn a_lost_session_leaves_nothing() {
        let mut resumed = ended_with(&[7]);
        resumed.forget();
        assert!(!resumed.check_resent(7, true));
    }
}
