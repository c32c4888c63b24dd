//! Since when the broker may have been holding the messages that arrive now.
//!
//! A message without a time of its own says nothing about how long it waited at the broker while the daemon was away, or did
//! not read because Postgres was. The session knows when it last had everything. In doubt the earlier moment counts: the only
//! use of it is not to take a backlog for a flood.

use crate::domain::time::Timestamp;

/// A session that was behind is abreast again only after so many seconds without a sign of being behind: a slow broker sends
/// a backlog piece by piece.
const CALM_SECONDS: f64 = 10.0;

/// The session looks at itself at least this often; ...
pub const LOOK_SECONDS: u64 = 2;

/// ... after a longer pause the process stood still, and was behind.
const PAUSE_SECONDS: f64 = 4.0;

/// A read that brought so many packets may have left more behind.
pub const MANY_PACKETS: usize = 512;

/// How often, in seconds, it is noted for the next run that nothing is held.
const NOTE_SECONDS: f64 = 30.0;

/// Moments of receipt may run so many seconds ahead of the clock, in a flood; farther, and it was the clock that was set back.
const RECEIPT_LEAD_MAX: f64 = 1.0;

/// The time now, or the last moment given when that is no more than [`RECEIPT_LEAD_MAX`] ahead of it.
pub fn next_receipt(now: Timestamp, last: Timestamp) -> Timestamp {
    if last.seconds_since(now) < RECEIPT_LEAD_MAX { now.max(last) } else { now }
}

/// What the broker may hold.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Since when; none: not known, and nothing is assumed.
    since: Option<Timestamp>,
    calm_from: Option<Timestamp>,
    looked: Option<Timestamp>,
    noted: Option<Timestamp>,
}

// === impl Backlog ===

impl Backlog {
    /// Nobody has read since this moment, as far as is known.
    pub fn new(since: Option<Timestamp>) -> Self {
        Self { since, ..Self::default() }
    }

    /// A connection begins. A session that is new holds nothing; one that was resumed may hold anything.
    pub fn connected(&mut self, now: Timestamp, is_resumed: bool) {
        self.looked = Some(now);
        self.calm_from = None;
        if !is_resumed {
            self.since = Some(now);
            // As calm as can be.
            self.calm_from = Some(Timestamp::default());
        }
    }

    /// Nobody has read since this moment, as is known only now.
    pub fn recalled(&mut self, since: Option<Timestamp>) {
        if let (Some(known), Some(since), false) = (self.since, since, self.calm_from == Some(Timestamp::default())) {
            self.since = Some(known.min(since));
        }
    }

    /// The session looked at itself: whether all that it may have is read.
    pub fn looked(&mut self, now: Timestamp, is_abreast: bool) {
        self.stood_still(now);
        self.looked = Some(now);
        self.calm_from = if is_abreast { self.calm_from.or(Some(now)) } else { None };
        if self.is_calm(now) {
            self.since = Some(now);
        }
    }

    /// Since when the broker may have held what arrives now.
    pub fn held_since(&mut self, now: Timestamp) -> Timestamp {
        self.stood_still(now);
        if self.is_calm(now) {
            self.since = Some(now);
        }
        let since = self.since.get_or_insert(now);
        // A clock that was set back.
        *since = (*since).min(now);
        *since
    }

    /// When the next run should know that nothing is held: now and then, while it is so.
    pub fn is_to_be_noted(&mut self, now: Timestamp) -> bool {
        let is_due = self.noted.is_none_or(|noted| now.seconds_since(noted).abs() >= NOTE_SECONDS);
        let notes = is_due && self.is_calm(now);
        if notes {
            self.noted = Some(now);
        }
        notes
    }

    fn is_calm(&self, now: Timestamp) -> bool {
        self.calm_from.is_some_and(|from| now.seconds_since(from) >= CALM_SECONDS)
    }

    fn stood_still(&mut self, now: Timestamp) {
        if self.looked.is_some_and(|looked| now.seconds_since(looked) > PAUSE_SECONDS) {
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

    /// Looks at every second of these.
    fn look(backlog: &mut Backlog, seconds: std::ops::RangeInclusive<i64>, is_abreast: bool) {
        seconds.for_each(|at| backlog.looked(second(at), is_abreast));
    }

    #[test]
    fn a_new_session_holds_nothing_and_a_resumed_one_what_came_since_it_was_last_abreast() {
        let mut backlog = Backlog::new(Some(second(0)));
        backlog.connected(second(40), true);
        assert_eq!(backlog.held_since(second(41)), second(0));
        backlog.connected(second(50), false);
        assert_eq!(backlog.held_since(second(51)), second(51));
        assert_eq!(Backlog::default().held_since(second(9)), second(9), "nothing is known");
    }

    #[test]
    fn it_is_abreast_only_after_a_calm_while() {
        let mut backlog = Backlog::new(Some(second(0)));
        backlog.connected(second(40), true);
        look(&mut backlog, 40..=45, true);
        look(&mut backlog, 46..=46, false);
        look(&mut backlog, 47..=56, true);
        assert_eq!(backlog.held_since(second(56)), second(0));
        look(&mut backlog, 57..=57, true);
        assert_eq!(backlog.held_since(second(58)), second(58));
    }

    #[test]
    fn a_session_that_does_not_read_or_stands_still_is_behind_from_when_it_last_looked() {
        let mut backlog = Backlog::default();
        backlog.connected(second(0), false);
        look(&mut backlog, 0..=10, true);
        look(&mut backlog, 11..=20, false);
        assert_eq!(backlog.held_since(second(20)), second(10));
        backlog.connected(second(30), false);
        look(&mut backlog, 30..=40, true);
        assert_eq!(backlog.held_since(second(80)), second(40));
    }

    #[test]
    fn the_next_run_hears_now_and_then_that_nothing_is_held() {
        let mut backlog = Backlog::default();
        backlog.connected(second(0), false);
        let noted = (0..100).filter(|at| {
            backlog.looked(second(*at), true);
            backlog.is_to_be_noted(second(*at))
        });
        assert_eq!(noted.count(), 4);
    }
}
