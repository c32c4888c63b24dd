//! After a read that brought messages, waits a moment before the next, so that one wake-up serves several of them.
//!
//! Mosquitto writes each message by itself, and waking for each costs more than all else. The first message after a quiet
//! moment is read at once; those right behind it wait for at most [`PAUSE`].

use std::time::Duration;

use tokio::time::Instant;

/// The pause before the next read: well below what a message waits for company and a commit.
pub const PAUSE: Duration = Duration::from_millis(1);

/// After a read that brought so many messages: until when the next read should wait, if at all.
pub fn pause_until(now: Instant, messages: usize) -> Option<Instant> {
    (messages > 0).then(|| now + PAUSE)
}
