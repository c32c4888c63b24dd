//! The live tail's source: the spine shows each decision to those who listen.
//!
//! While nobody listens, it costs the spine one atomic read for each batch. A listener gets at most
//! [`LINES_PER_SECOND`] lines: the filter and the choice come before a line is formatted. Queues are
//! bounded and drop their oldest lines, so a slow listener delays no message.

mod sampler;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::live::{DecidedMessage, LiveLine, LiveOutcome, LiveSearch};
use crate::domain::message::Delivery;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::telemetry::live::LiveMetrics;
pub use sampler::LINES_PER_SECOND;
use sampler::LineSampler;

/// Lines of a stream that wait for its reader: five seconds.
const STREAM_LINES: usize = 100;

/// Lines of a list of recent decisions.
pub const RECENT_LINES: usize = 50;

/// Searches with a list of recent decisions; another one takes the place of the one that was read
/// least recently.
const LISTS_MAX: usize = 8;

/// How long a list is kept after it was read, in seconds.
pub const LIST_SECONDS: i64 = 300;

/// Shows decisions to listeners. Clones share the listeners.
#[derive(Clone, Debug)]
pub struct LiveFeed {
    shared: Arc<FeedState>,
}

#[derive(Debug)]
struct FeedState {
    /// Number of the slots.
    wanted: AtomicUsize,
    slots: Mutex<Vec<Arc<LiveSlot>>>,
    metrics: LiveMetrics,
}

/// What one listener wants, and what it has not read yet.
#[derive(Debug)]
struct LiveSlot {
    search: LiveSearch,
    queue: Mutex<LiveQueue>,
    arrived: Notify,
}

#[derive(Debug)]
struct LiveQueue {
    sampler: LineSampler,
    lines: VecDeque<LiveLine>,
    counts: LiveCounts,
    /// Of a list: since when it is kept, and until when; `None`: a stream.
    list: Option<ListTime>,
}

#[derive(Clone, Copy, Debug)]
struct ListTime {
    since: Timestamp,
    read_at: Timestamp,
}

/// What became of the decisions that a listener wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Decisions that the search selects.
    pub matched: u64,
    /// Those of them that became lines.
    pub shown: u64,
    /// Lines that were dropped because the reader was too slow.
    pub dropped: u64,
}

/// The decisions of one batch.
#[derive(Debug)]
pub struct LiveRound<'a> {
    slots: MutexGuard<'a, Vec<Arc<LiveSlot>>>,
    metrics: &'a LiveMetrics,
    now: Timestamp,
}

/// A listener. Dropping it ends its work.
#[derive(Debug)]
pub struct LiveListener {
    feed: LiveFeed,
    slot: Arc<LiveSlot>,
}

/// The recent decisions of a search.
#[derive(Clone, Debug)]
pub struct RecentLines {
    /// Since when they are kept.
    pub since: Timestamp,
    /// The newest first.
    pub lines: Vec<LiveLine>,
    /// What became of the decisions since then.
    pub counts: LiveCounts,
}

// === impl LiveFeed ===

impl LiveFeed {
    /// A feed without listeners.
    pub fn new(metrics: LiveMetrics) -> Self {
        let state = FeedState { wanted: AtomicUsize::new(0), slots: Mutex::default(), metrics };
        Self { shared: Arc::new(state) }
    }

    /// Whether anybody listens.
    pub fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Relaxed) > 0
    }

    /// Begins to show the decisions of a batch.
    pub fn round(&self, now: Timestamp) -> LiveRound<'_> {
        let mut slots = self.lock();
        slots.retain(|slot| !slot.lock().is_expired(now));
        self.shared.wanted.store(slots.len(), Ordering::Relaxed);
        LiveRound { slots, metrics: &self.shared.metrics, now }
    }

    /// Listens from now on.
    pub fn listen(&self, search: LiveSearch) -> LiveListener {
        let slot = self.add(&mut self.lock(), search, None);
        self.shared.metrics.listeners.inc();
        LiveListener { feed: self.clone(), slot }
    }

    /// The recent decisions of a search. The first call begins to keep them, and the last one ends it
    /// after [`LIST_SECONDS`].
    pub fn recent(&self, search: LiveSearch, now: Timestamp) -> RecentLines {
        let mut slots = self.lock();
        slots.retain(|slot| !slot.lock().is_expired(now));
        let found = slots.iter().find(|slot| slot.search == search && slot.lock().list.is_some());
        let found = found.cloned().unwrap_or_else(|| {
            remove_oldest_list(&mut slots);
            self.add(&mut slots, search, Some(ListTime { since: now, read_at: now }))
        });
        self.shared.wanted.store(slots.len(), Ordering::Relaxed);
        drop(slots);
        let mut queue = found.lock();
        let since = queue.list.map_or(now, |list| list.since);
        queue.list = Some(ListTime { since, read_at: now });
        RecentLines {
            since,
            lines: queue.lines.iter().rev().cloned().collect(),
            counts: queue.counts,
        }
    }

    fn add(
        &self,
        slots: &mut Vec<Arc<LiveSlot>>,
        search: LiveSearch,
        list: Option<ListTime>,
    ) -> Arc<LiveSlot> {
        let queue = LiveQueue {
            sampler: LineSampler::default(),
            lines: VecDeque::new(),
            counts: LiveCounts::default(),
            list,
        };
        let slot = Arc::new(LiveSlot { search, queue: Mutex::new(queue), arrived: Notify::new() });
        slots.push(Arc::clone(&slot));
        self.shared.wanted.store(slots.len(), Ordering::Relaxed);
        slot
    }

    fn remove(&self, slot: &Arc<LiveSlot>) {
        let mut slots = self.lock();
        slots.retain(|other| !Arc::ptr_eq(other, slot));
        self.shared.wanted.store(slots.len(), Ordering::Relaxed);
        self.shared.metrics.listeners.dec();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<LiveSlot>>> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for another list.
fn remove_oldest_list(slots: &mut Vec<Arc<LiveSlot>>) {
    let lists = slots.iter().filter_map(|slot| Some((slot.lock().list?.read_at, slot)));
    let lists: Vec<_> = lists.map(|(read_at, slot)| (read_at, Arc::clone(slot))).collect();
    if lists.len() >= LISTS_MAX
        && let Some((_, oldest)) = lists.into_iter().min_by_key(|(read_at, _)| *read_at)
    {
        slots.retain(|slot| !Arc::ptr_eq(slot, &oldest));
    }
}

// === impl LiveRound ===

impl LiveRound<'_> {
    /// Shows one decision to those who want it.
    pub fn decided(
        &mut self,
        delivery: &Delivery,
        outcome: LiveOutcome,
        refusal: Option<&Refusal>,
    ) {
        let message = DecidedMessage::new(delivery, outcome, refusal);
        for slot in self.slots.iter().filter(|slot| slot.search.selects(&message)) {
            let mut queue = slot.lock();
            queue.counts.matched += 1;
            if !queue.sampler.admits(self.now) {
                continue;
            }
            queue.counts.shown += 1;
            self.metrics.formatted.inc();
            if queue.add(message.line()) {
                self.metrics.dropped.inc();
            }
            drop(queue);
            slot.arrived.notify_one();
        }
    }
}

// === impl LiveSlot ===

impl LiveSlot {
    fn lock(&self) -> MutexGuard<'_, LiveQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl LiveQueue ===

impl LiveQueue {
    /// Adds a line; true means that a line of a stream was dropped for it.
    fn add(&mut self, line: LiveLine) -> bool {
        let room = if self.list.is_some() { RECENT_LINES } else { STREAM_LINES };
        let is_full = self.lines.len() == room;
        if is_full {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        let is_loss = is_full && self.list.is_none();
        self.counts.dropped += u64::from(is_loss);
        is_loss
    }

    /// Whether it is a list that was not read lately.
    fn is_expired(&self, now: Timestamp) -> bool {
        self.list.is_some_and(|list| list.read_at.plus_seconds(LIST_SECONDS) < now)
    }
}

// === impl LiveListener ===

impl LiveListener {
    /// Waits until there may be lines to take.
    pub async fn arrived(&self) {
        self.slot.arrived.notified().await;
    }

    /// The lines that have come since the last call, the oldest first.
    pub fn take(&self) -> VecDeque<LiveLine> {
        std::mem::take(&mut self.slot.lock().lines)
    }

    /// What became of the decisions so far.
    pub fn counts(&self) -> LiveCounts {
        self.slot.lock().counts
    }
}

impl Drop for LiveListener {
    fn drop(&mut self) {
        self.feed.remove(&self.slot);
    }
}

#[cfg(test)]
mod tests;
