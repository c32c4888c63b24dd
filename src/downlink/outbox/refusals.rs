//! What the broker refused a moment ago, so that a message that it refuses does not hold up others.
//!
//! It is memory only: after a restart each message is tried at once. Its size is bounded; when it is
//! full, the whole lane pauses.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Pauses double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Most remembered refusals.
const REFUSALS_MAX: usize = 1_000;

/// The refusals of one lane.
#[derive(Debug)]
pub(super) struct LaneRefusals<K> {
    refused: HashMap<K, RefusalPause>,
    lane: RefusalPause,
    /// The code of the last refusal; `None` while nothing is refused.
    last_code: Option<u8>,
}

/// When the next attempt is due.
#[derive(Clone, Copy, Debug)]
struct RefusalPause {
    until: Instant,
    length: Duration,
}

// === impl LaneRefusals ===

impl<K: Eq + Hash> LaneRefusals<K> {
    /// None.
    pub(super) fn new(now: Instant) -> Self {
        let lane = RefusalPause { until: now, length: Duration::ZERO };
        Self { refused: HashMap::new(), lane, last_code: None }
    }

    /// Records a refusal.
    pub(super) fn refused(&mut self, key: K, code: u8, now: Instant) {
        self.last_code = Some(code);
        self.pause(key, now);
    }

    /// Leaves out a key for a while.
    pub(super) fn pause(&mut self, key: K, now: Instant) {
        if let Some(pause) = self.refused.get_mut(&key) {
            pause.extend(now);
        } else if self.refused.len() < REFUSALS_MAX {
            let mut pause = RefusalPause { until: now, length: Duration::ZERO };
            pause.extend(now);
            self.refused.insert(key, pause);
        } else {
            self.lane.extend(now);
        }
    }

    /// Records a message that the broker accepted.
    pub(super) fn accepted(&mut self, key: &K) {
        self.refused.remove(key);
        self.lane.length = Duration::ZERO;
        if self.refused.is_empty() {
            self.last_code = None;
        }
    }

    /// Whether the lane pauses.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.lane.until > now
    }

    /// The keys to leave out now. A key whose pause is long over is forgotten.
    pub(super) fn skipped(&mut self, now: Instant) -> impl Iterator<Item = &K> {
        self.refused.retain(|_, pause| now < pause.until + 2 * LONGEST_PAUSE);
        if self.refused.is_empty() && self.lane.until <= now {
            self.last_code = None;
        }
        self.refused.iter().filter(move |(_, pause)| pause.until > now).map(|(key, _)| key)
    }

    /// The code of the last refusal, and of how many receivers messages are refused.
    pub(super) fn last(&self) -> Option<(u8, usize)> {
        self.last_code.map(|code| (code, self.refused.len()))
    }
}

// === impl RefusalPause ===

impl RefusalPause {
    fn extend(&mut self, now: Instant) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = now + self.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_key_pauses_longer_each_time_until_it_is_accepted() {
        let start = Instant::now();
        let mut refusals = LaneRefusals::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        refusals.refused("a", 0x87, start);
        assert_eq!(refusals.skipped(after(0)).collect::<Vec<_>>(), [&"a"]);
        assert_eq!(refusals.skipped(after(1)).count(), 0);
        refusals.refused("a", 0x87, after(1));
        assert_eq!(
            (refusals.skipped(after(2)).count(), refusals.skipped(after(3)).count()),
            (1, 0)
        );
        assert_eq!(refusals.last(), Some((0x87, 1)));
        refusals.accepted(&"a");
        assert_eq!(refusals.last(), None);
        assert!(!refusals.is_paused(start));
    }

    #[tokio::test]
    async fn a_full_memory_pauses_the_lane_and_is_forgotten_in_the_end() {
        let start = Instant::now();
        let mut refusals = LaneRefusals::new(start);
        for key in 0..=REFUSALS_MAX {
            refusals.refused(key, 0x97, start);
        }
        assert!(refusals.is_paused(start));
        assert!(!refusals.is_paused(start + FIRST_PAUSE));
        assert_eq!(refusals.skipped(start).count(), REFUSALS_MAX);
        assert_eq!(refusals.skipped(start + 3 * LONGEST_PAUSE).count(), 0);
        assert_eq!(refusals.last(), None);
    }
}
