//! Keeps the counts of a list that took long for a while, so that many viewers cost what one costs.
//!
//! A short count is never kept: a small fleet always gets the numbers of now. A change through the
//! API of this daemon makes all kept counts old. It counts nothing itself.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::time::MonotonicClock;
use crate::store::certificates::inventory::ExpiryCounts;
use crate::store::quarantine::facets::KeptCounts;

/// A count that took less is not kept.
const LONG: Duration = Duration::from_millis(20);

/// A count may take this share of the time at most: what takes 100 ms is repeated after 20 s.
const SHARE: u32 = 200;

/// The longest time that a count is kept.
const AGE_MAX: Duration = Duration::from_mins(1);

/// The most counts of one kind that are kept.
const COUNTS_MAX: usize = 64;

/// The kept counts of all lists. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCounts {
    /// Devices that a search finds.
    pub devices: CountsOf<u32>,
    /// Certificates that a search finds.
    pub certificates: CountsOf<u32>,
    /// Certificates by the week of their end.
    pub ends: CountsOf<ExpiryCounts>,
    /// Messages in the quarantine.
    pub refused: CountsOf<KeptCounts>,
}

/// The kept counts of one kind, by what is counted. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct CountsOf<V> {
    slots: Arc<Mutex<BTreeMap<String, Slot<V>>>>,
    /// Changes so far; a count from before the last one is old.
    changes: Arc<AtomicU64>,
    monotonic: MonotonicClock,
}

/// A count, locked by the request that counts.
type Slot<V> = Arc<tokio::sync::Mutex<Option<KeptCount<V>>>>;

#[derive(Debug)]
struct KeptCount<V> {
    count: V,
    until: Instant,
    /// The changes before it.
    changes: u64,
}

// === impl SharedCounts ===

impl SharedCounts {
    /// Makes all kept counts old.
    pub(crate) fn note_change(&self) {
        self.devices.note_change();
        self.certificates.note_change();
        self.ends.note_change();
        self.refused.note_change();
    }
}

// === impl CountsOf ===

impl<V> Default for CountsOf<V> {
    fn default() -> Self {
        Self { slots: Arc::default(), changes: Arc::default(), monotonic: Instant::now }
    }
}

impl<V: Clone> CountsOf<V> {
    /// The kept count of `what`, or that of `counting`. Equal requests wait for one of them.
    pub(crate) async fn get<E>(
        &self,
        what: &impl Debug,
        counting: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let slot = self.slot(format!("{what:?}"));
        let mut slot = slot.lock().await;
        let changes = self.changes.load(Ordering::Acquire);
        let started_at = (self.monotonic)();
        if let Some(kept) = slot.as_ref()
            && kept.changes == changes
            && kept.until > started_at
        {
            return Ok(kept.count.clone());
        }
        let count = counting.await?;
        let now = (self.monotonic)();
        let took = now.saturating_duration_since(started_at);
        let until = now + (took * SHARE).min(AGE_MAX);
        *slot = (took >= LONG).then(|| KeptCount { count: count.clone(), until, changes });
        Ok(count)
    }

    fn slot(&self, what: String) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= COUNTS_MAX && !slots.contains_key(&what) {
            slots.clear();
        }
        Arc::clone(slots.entry(what).or_default())
    }
}

impl<V> CountsOf<V> {
    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static MOVED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        static START: Instant = Instant::now();
    }

    fn advance(time: Duration) {
        MOVED.set(MOVED.get() + time);
    }

    fn counts() -> CountsOf<u32> {
        CountsOf { monotonic: || START.with(|start| *start) + MOVED.get(), ..CountsOf::default() }
    }

    async fn counted(counts: &CountsOf<u32>, took: Duration, count: u32) -> u32 {
        let counting = async {
            advance(took);
            Ok::<_, ()>(count)
        };
        counts.get(&"devices of acme", counting).await.unwrap()
    }

    #[tokio::test]
    async fn a_long_count_is_kept_for_a_share_of_the_time_and_a_short_one_is_not() {
        let counts = counts();
        assert_eq!(counted(&counts, LONG / 2, 1).await, 1);
        assert_eq!(counted(&counts, LONG, 2).await, 2, "a short count is not kept");
        assert_eq!(counted(&counts, LONG, 3).await, 2);
        advance(LONG * SHARE);
        assert_eq!(counted(&counts, Duration::from_hours(1), 4).await, 4);
        advance(AGE_MAX.saturating_sub(Duration::from_millis(1)));
        assert_eq!(counted(&counts, LONG, 5).await, 4);
        advance(Duration::from_millis(1));
        assert_eq!(counted(&counts, LONG, 6).await, 6, "no count is kept for longer");
    }

    #[tokio::test]
    async fn a_change_makes_a_count_old_also_while_it_is_counted() {
        let counts = counts();
        assert_eq!(counted(&counts, LONG, 1).await, 1);
        counts.note_change();
        let changed_meanwhile = async {
            counts.note_change();
            advance(LONG);
            Ok::<_, ()>(2)
        };
        assert_eq!(counts.get(&"devices of acme", changed_meanwhile).await, Ok(2));
        assert_eq!(counted(&counts, LONG, 3).await, 3);
        assert_eq!(counted(&counts, LONG, 4).await, 3);
    }

    #[tokio::test]
    async fn equal_requests_wait_for_one_count_and_a_failure_is_not_kept() {
        let counts = counts();
        let slow = async {
            tokio::task::yield_now().await;
            advance(LONG);
            Ok::<_, ()>(1)
        };
        let (one, other) =
            tokio::join!(counts.get(&"devices of acme", slow), counted(&counts, LONG, 2));
        assert_eq!((one, other), (Ok(1), 1));
        counts.note_change();
        let failed = counts.get(&"devices of acme", async { Err("no answer") }).await;
        assert_eq!(failed, Err("no answer"));
        assert_eq!(counted(&counts, LONG, 3).await, 3);
        for number in 0..=COUNTS_MAX {
            assert_eq!(counts.get(&number, async { Ok::<_, ()>(0) }).await, Ok(0));
        }
        assert!(counts.slots.lock().unwrap().len() <= COUNTS_MAX);
    }
}
