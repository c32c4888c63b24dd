//! Since when the broker may have held the messages that arrive now.
//!
//! A message without a `ts` does not show how long it waited at the broker while the daemon was
//! away or did not read. The session records when it last had read everything. In doubt the earlier
//! time counts: it is used only so that a backlog is not rate limited.

use crate::domain::time::Timestamp;

/// A session that was behind has caught up after this many seconds without unread messages: a slow
/// broker sends a backlog in pieces.
const CALM_SECONDS: f64 = 10.0;

/// The session updates this state at least this often.
pub const UPDATE_SECONDS: u64 = 2;

/// After a longer pause the process was suspended, and is behind.
const PAUSE_SECONDS: f64 = 4.0;

/// A read of this many packets may have left more unread.
pub const MANY_PACKETS: usize = 512;

/// How often, in seconds, the state is persisted for the next run.
const PERSIST_SECONDS: f64 = 30.0;

/// Receipt times may run ahead of the clock by this many seconds in a flood. Beyond that, the clock
/// was set back.
const RECEIPT_LEAD_MAX: f64 = 1.0;

/// Returns `now`, or `last` if that is less than [`RECEIPT_LEAD_MAX`] ahead.
pub fn next_receipt(now: Timestamp, last: Timestamp) -> Timestamp {
    if last.seconds_since(now) < RECEIPT_LEAD_MAX { now.max(last) } else { now }
}

/// What the broker may hold.
#[derive(Debug, Default)]
pub struct SessionBacklog {
    /// Since when; `None` means unknown, and nothing is assumed.
    since: Option<Timestamp>,
    calm_from: Option<Timestamp>,
    updated: Option<Timestamp>,
    persisted: Option<Timestamp>,
}

// === impl SessionBacklog ===

impl SessionBacklog {
    /// Starts with the time of the last known read.
    pub fn new(since: Option<Timestamp>) -> Self {
        Self { since, ..Self::default() }
    }

    /// Records a new connection. A new session holds no message; a resumed one may hold any.
    pub fn connected(&mut self, now: Timestamp, is_resumed: bool) {
        self.updated = Some(now);
        self.calm_from = None;
        if !is_resumed {
            self.since = Some(now);
            // A new session counts as caught up.
            self.calm_from = Some(Timestamp::default());
        }
    }

    /// Records the time of the last read, which became known only now.
    pub fn recalled(&mut self, since: Option<Timestamp>) {
        if let (Some(current), Some(since), false) =
            (self.since, since, self.calm_from == Some(Timestamp::default()))
        {
            self.since = Some(current.min(since));
        }
    }

    /// Records whether every waiting message is read.
    pub fn update(&mut self, now: Timestamp, is_caught_up: bool) {
        self.check_for_pause(now);
        self.updated = Some(now);
        self.calm_from = if is_caught_up { self.calm_from.or(Some(now)) } else { None };
        if self.is_calm(now) {
            self.since = Some(now);
        }
    }

    /// Since when the broker may have held a message that arrives now.
    pub fn held_since(&mut self, now: Timestamp) -> Timestamp {
        self.check_for_pause(now);
        if self.is_calm(now) {
            self.since = Some(now);
        }
        let since = self.since.get_or_insert(now);
        // The clock was set back.
        *since = (*since).min(now);
        *since
    }

    /// Whether to persist now that the broker holds nothing.
    pub fn should_persist(&mut self, now: Timestamp) -> bool {
        let is_due = self
            .persisted
            .is_none_or(|persisted| now.seconds_since(persisted).abs() >= PERSIST_SECONDS);
        let persists = is_due && self.is_calm(now);
        if persists {
            self.persisted = Some(now);
        }
        persists
    }

    fn is_calm(&self, now: Timestamp) -> bool {
        self.calm_from.is_some_and(|from| now.seconds_since(from) >= CALM_SECONDS)
    }

    fn check_for_pause(&mut self, now: Timestamp) {
        if self.updated.is_some_and(|updated| now.seconds_since(updated) > PAUSE_SECONDS) {
            self.calm_from = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::default().plus_seconds(1_000_000 + second)
    }

    /// Updates once for each of `seconds`.
    fn update_each_second(
        backlog: &mut SessionBacklog,
        seconds: std::ops::RangeInclusive<i64>,
        is_caught_up: bool,
    ) {
        seconds.for_each(|at| backlog.update(second(at), is_caught_up));
    }

    #[test]
    fn a_new_session_holds_nothing_and_a_resumed_one_may_hold_messages_since_it_last_caught_up() {
        let mut backlog = SessionBacklog::new(Some(second(0)));
        backlog.connected(second(40), true);
        assert_eq!(backlog.held_since(second(41)), second(0));
        backlog.connected(second(50), false);
        assert_eq!(backlog.held_since(second(51)), second(51));
        assert_eq!(SessionBacklog::default().held_since(second(9)), second(9), "nothing is known");
    }

    #[test]
    fn it_has_caught_up_only_after_a_calm_period() {
        let mut backlog = SessionBacklog::new(Some(second(0)));
        backlog.connected(second(40), true);
        update_each_second(&mut backlog, 40..=45, true);
        update_each_second(&mut backlog, 46..=46, false);
        update_each_second(&mut backlog, 47..=56, true);
        assert_eq!(backlog.held_since(second(56)), second(0));
        update_each_second(&mut backlog, 57..=57, true);
        assert_eq!(backlog.held_since(second(58)), second(58));
    }

    #[test]
    fn a_session_that_does_not_read_or_is_suspended_is_behind_since_its_last_update() {
        let mut backlog = SessionBacklog::default();
        backlog.connected(second(0), false);
        update_each_second(&mut backlog, 0..=10, true);
        update_each_second(&mut backlog, 11..=20, false);
        assert_eq!(backlog.held_since(second(20)), second(10));
        backlog.connected(second(30), false);
        update_each_second(&mut backlog, 30..=40, true);
        assert_eq!(backlog.held_since(second(80)), second(40));
    }

    #[test]
    fn the_state_is_persisted_only_from_time_to_time() {
        let mut backlog = SessionBacklog::default();
        backlog.connected(second(0), false);
        let persisted = (0..100).filter(|at| {
            backlog.update(second(*at), true);
            backlog.should_persist(second(*at))
        });
        assert_eq!(persisted.count(), 4);
    }
}
