//! When a batch is sent: when it is full, when its oldest message has waited long enough, or at
//! once after a pause.
//!
//! Pure: no IO, no clock, no messages; the caller reports arrivals and their time.

use std::time::{Duration, Instant};

use crate::config::sections::ingest::BATCHES_IN_FLIGHT;

/// Resolution of timers, which fire late: what is due within it counts as due.
const TICK: Duration = Duration::from_millis(1);

/// While the writer is busy, a full batch grows up to this multiple of its size. Postgres prepares
/// each of the first thousand rows of a COPY, and each commit has a fixed cost: in a flood, few
/// large transactions cost a quarter less. Beyond two thousand rows the gain is small, and memory
/// grows.
const GROWTH: usize = 2;

/// The same with several nodes: each batch has a fixed cost at each of them.
const LARGEST_OF_NODES: usize = 5_000;

/// A batch of this many bytes stops growing, however few messages it has.
const GROWTH_BYTES: usize = 4 * 1024 * 1024;

/// Counts the messages of the next batch.
///
/// Messages also wait in the broker's socket, which is read in the same rhythm. So the linger
/// counts from the previous batch: a later message has waited no longer than that.
#[derive(Clone, Debug)]
pub struct Gathering {
    sizes: Sizes,
    linger: Duration,
    waiting: usize,
    waiting_bytes: usize,
    due_at: Option<Instant>,
    last_arrival: Option<Instant>,
    last_batch: Option<Instant>,
}

/// How large batches are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    full: usize,
    largest: usize,
}

/// What to do with the waiting messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPlan {
    /// Nothing waits.
    Idle,
    /// Nothing to do before this time.
    WaitUntil(Instant),
    /// Send as soon as the writer is idle: a steady trickle shares commits.
    FlushWhenIdle,
    /// The batch is full: send as soon as the writer has a free permit; it grows until then.
    FlushNow,
}

// === impl Sizes ===

impl Sizes {
    /// A batch is full with `full` messages. All batches in flight fit into `window`, which the
    /// broker fills before the first acknowledgement: otherwise a batch would be prepared only
    /// after the one before it is written.
    pub fn new(full: usize, window: usize) -> Self {
        let share = window / BATCHES_IN_FLIGHT as usize;
        Self { full, largest: (full * GROWTH).min(share).max(full) }
    }

    /// The same for a store of several nodes, where a larger batch costs less a row.
    pub fn of_nodes(full: usize, window: usize) -> Self {
        let share = window / BATCHES_IN_FLIGHT as usize;
        Self { full, largest: (full * GROWTH).max(LARGEST_OF_NODES).min(share).max(full) }
    }
}

// === impl Gathering ===

impl Gathering {
    /// Batches of `sizes` whose oldest message waits at most `linger`.
    pub fn new(sizes: Sizes, linger: Duration) -> Self {
        Self {
            sizes,
            linger,
            waiting: 0,
            waiting_bytes: 0,
            due_at: None,
            last_arrival: None,
            last_batch: None,
        }
    }

    /// Records the arrival of `messages` with `bytes` in total.
    pub fn arrived(&mut self, messages: usize, bytes: usize, now: Instant) {
        let quiet =
            self.last_arrival.is_none_or(|last| now.saturating_duration_since(last) >= self.linger);
        self.last_arrival = Some(now);
        self.waiting += messages;
        self.waiting_bytes += bytes;
        if self.due_at.is_none() {
            let lingered = self.last_batch.map_or(now, |last| last + self.linger);
            self.due_at = Some(if quiet { now } else { lingered.max(now) });
        }
    }

    /// What to do at `now`.
    pub fn plan(&self, now: Instant) -> FlushPlan {
        match self.due_at {
            _ if self.waiting >= self.sizes.full => FlushPlan::FlushNow,
            None => FlushPlan::Idle,
            Some(due) if due <= now + TICK => FlushPlan::FlushWhenIdle,
            Some(due) => FlushPlan::WaitUntil(due),
        }
    }

    /// Whether to take more messages; if not, the queue fills and the broker waits.
    pub fn has_room(&self) -> bool {
        let Sizes { full, largest } = self.sizes;
        self.waiting < full || self.waiting < largest && self.waiting_bytes < GROWTH_BYTES
    }

    /// Records that a batch is sent; returns its number of messages. The rest has waited already
    /// and is due at once.
    pub fn take(&mut self, now: Instant) -> usize {
        let taken = self.waiting.min(self.sizes.largest);
        // The bytes of the rest are estimated by its share.
        self.waiting_bytes = self.waiting_bytes / self.waiting.max(1) * (self.waiting - taken);
        self.waiting -= taken;
        self.due_at = (self.waiting > 0).then_some(now);
        self.last_batch = Some(now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINGER: Duration = Duration::from_millis(5);
    const SIZES: Sizes = Sizes { full: 100, largest: 200 };

    #[test]
    fn a_batch_grows_to_twice_its_size_or_half_the_window() {
        let largest = |full, window| Sizes::new(full, window).largest;
        assert_eq!(
            [largest(1000, 16_000), largest(10, 16_000), largest(1000, 3_000)],
            [2_000, 20, 1_500]
        );
        assert_eq!(
            [largest(1000, 2_000), largest(32_767, 65_535)],
            [1_000, 32_767],
            "it does not grow at all"
        );
    }

    #[test]
    fn a_lone_message_goes_at_once() {
        let mut gathering = Gathering::new(SIZES, LINGER);
        let now = Instant::now();
        assert_eq!(gathering.plan(now), FlushPlan::Idle);
        gathering.arrived(1, 0, now);
        assert_eq!(gathering.plan(now), FlushPlan::FlushWhenIdle);
        assert_eq!(gathering.take(now), 1);
        let much_later = now + LINGER * 10;
        gathering.arrived(1, 0, much_later);
        assert_eq!(gathering.plan(much_later), FlushPlan::FlushWhenIdle);
    }

    #[test]
    fn a_second_message_waits_for_the_linger() {
        let mut gathering = Gathering::new(SIZES, LINGER);
        let now = Instant::now();
        gathering.arrived(1, 0, now);
        gathering.take(now);
        let soon = now + LINGER / 2;
        gathering.arrived(1, 0, soon);
        assert_eq!(
            gathering.plan(soon),
            FlushPlan::WaitUntil(now + LINGER),
            "counted from the batch before"
        );
        assert_eq!(gathering.plan(now + LINGER), FlushPlan::FlushWhenIdle);
        assert_eq!(
            gathering.plan(now + TICK * 4),
            FlushPlan::FlushWhenIdle,
            "no timer could be set for the rest"
        );
        gathering.take(now + LINGER);
        gathering.arrived(1, 0, now + LINGER + TICK * 4);
        assert_eq!(
            gathering.plan(now + LINGER + TICK * 4),
            FlushPlan::FlushWhenIdle,
            "it waited in the socket"
        );
    }

    #[test]
    fn a_full_batch_grows_until_the_writer_has_a_free_permit() {
        let mut gathering = Gathering::new(SIZES, LINGER);
        let now = Instant::now();
        gathering.arrived(100, 0, now);
        assert_eq!(gathering.plan(now), FlushPlan::FlushNow);
        assert!(gathering.has_room(), "there may be no place yet");
        gathering.arrived(250, 0, now);
        assert!(!gathering.has_room());
        assert_eq!((gathering.take(now), gathering.plan(now)), (200, FlushPlan::FlushNow));
        assert_eq!(gathering.take(now), 150);
        assert_eq!(gathering.plan(now), FlushPlan::Idle);
        gathering.arrived(250, 0, now);
        gathering.take(now);
        assert_eq!(
            gathering.plan(now),
            FlushPlan::FlushWhenIdle,
            "what is left over has waited already"
        );
    }

    #[test]
    fn a_full_batch_of_large_messages_does_not_grow() {
        let mut gathering = Gathering::new(SIZES, LINGER);
        let now = Instant::now();
        gathering.arrived(99, GROWTH_BYTES, now);
        assert!(gathering.has_room(), "it is not full");
        gathering.arrived(1, 1, now);
        assert!(!gathering.has_room());
        assert_eq!(gathering.take(now), 100);
        gathering.arrived(300, GROWTH_BYTES - 100, now);
        assert_eq!(gathering.take(now), 200);
        gathering.arrived(50, GROWTH_BYTES / 2, now);
        assert!(gathering.has_room(), "a third was left, and half came");
        gathering.arrived(50, GROWTH_BYTES / 2, now);
        assert!(!gathering.has_room());
    }

    proptest! {
        #[test]
        fn nothing_waits_longer_than_the_linger_and_nothing_is_lost(
            arrivals in prop::collection::vec((0_u64..20, 1_usize..50), 1..200), size in 1_usize..60,
        ) {
            let sizes = Sizes::new(size, 1_000);
            let mut gathering = Gathering::new(sizes, LINGER);
            let mut now = Instant::now();
            let (mut came, mut went, mut oldest) = (0, 0, None);
            for (gap, messages) in arrivals {
                now += Duration::from_millis(gap);
                while matches!(gathering.plan(now), FlushPlan::FlushNow | FlushPlan::FlushWhenIdle) {
                    let taken = gathering.take(now);
                    prop_assert!(0 < taken && taken <= sizes.largest);
                    went += taken;
                    oldest = (went < came).then_some(oldest).flatten();
                }
                if let Some(oldest) = oldest {
                    prop_assert!(now.duration_since(oldest) <= LINGER, "a message was passed over");
                }
                gathering.arrived(messages, messages * GROWTH_BYTES / 50, now);
                came += messages;
                oldest = oldest.or(Some(now));
            }
            while gathering.plan(now + LINGER) != FlushPlan::Idle {
                went += gathering.take(now + LINGER);
            }
            prop_assert_eq!(came, went);
        }
    }
}
