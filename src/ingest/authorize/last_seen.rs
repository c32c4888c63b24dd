//! Gathers `last_seen_at` of each device, so that `device_state` is written once for many messages.
//!
//! A row for each device and batch would double the cost of a message in Postgres. So an entry
//! waits for more messages of its device: a short time for a device that was silent, longer for one
//! that sends steadily. Only one batch in a period carries the due entries; a batch without them is
//! one statement. A kill loses the freshness of `last_seen_at` by that delay; the telemetry table
//! is complete.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::batch::LastSeen;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// How long the first entry of a device waits, in seconds.
pub const FIRST_DELAY: i64 = 5;

/// How long later entries wait. A device that reports every five seconds costs one row for four
/// messages; an operator who searches for silent devices thinks in minutes.
pub const DELAY: i64 = 20;

/// Microseconds between two batches with entries.
const PERIOD: i64 = 250_000;

/// Most entries of one batch: some milliseconds for Postgres.
const BATCH_MAX: usize = 1_000;

/// From this number of waiting entries on, every batch carries due entries: [`BATCH_MAX`] of them,
/// or all above this number if those are more. So the queues are bounded.
const BACKLOG_MAX: usize = 20_000;

/// Position of a device's entry in its queue. It is stored with the grant, so no map is needed.
/// Only the task that owns the queues writes it.
#[derive(Debug, Default)]
pub struct Ticket(AtomicU64);

/// Waiting entries. After a grant expires, the next entry of its device counts as the first.
#[derive(Debug)]
pub struct LastSeenQueue {
    first: LastSeenOrder,
    later: LastSeenOrder,
    next_batch: Timestamp,
}

/// A queue, oldest first, with one delay.
#[derive(Debug)]
struct LastSeenOrder {
    waiting: VecDeque<Waiting>,
    /// Number of entries removed; the one in front has the next number. No number is reused.
    removed: u64,
    delay: i64,
}

#[derive(Debug)]
struct Waiting {
    due: Timestamp,
    sighting: LastSeen,
}

// === impl LastSeenQueue ===

impl Default for LastSeenQueue {
    fn default() -> Self {
        Self {
            first: LastSeenOrder::new(FIRST_DELAY),
            later: LastSeenOrder::new(DELAY),
            next_batch: Timestamp::default(),
        }
    }
}

impl LastSeenQueue {
    /// Records an accepted message of `device`.
    pub fn record(&mut self, device: &DeviceKey, ticket: &Ticket, at: Timestamp, telemetry: bool) {
        let last_telemetry = telemetry.then_some(at);
        let (number, is_first) = ticket.read();
        let queue = if is_first { &mut self.first } else { &mut self.later };
        if let Some(sighting) = queue.find(number) {
            sighting.last_seen = sighting.last_seen.max(at);
            sighting.last_telemetry = sighting.last_telemetry.max(last_telemetry);
            return;
        }
        let is_first = number == 0;
        let queue = if is_first { &mut self.first } else { &mut self.later };
        let number = queue.push(LastSeen { device: device.clone(), last_seen: at, last_telemetry });
        ticket.write(number, is_first);
    }

    /// When the next batch should carry entries.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = self.first.next_due().into_iter().chain(self.later.next_due()).min();
        due.map(|due| self.next_batch.max(due))
    }

    /// Removes the due entries, at most one batch's share, sorted by device.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<LastSeen> {
        let waiting = self.first.waiting.len() + self.later.waiting.len();
        if now < self.next_batch && waiting < BACKLOG_MAX {
            return Vec::new();
        }
        let taken = self.take(|due| due <= now, BATCH_MAX.max(waiting.saturating_sub(BACKLOG_MAX)));
        if !taken.is_empty() {
            self.next_batch = Timestamp::from_micros(now.micros() + PERIOD);
        }
        taken
    }

    /// Removes all entries, at the end.
    pub fn take_all(&mut self) -> Vec<LastSeen> {
        self.take(|_| true, usize::MAX)
    }

    fn take(&mut self, due: impl Fn(Timestamp) -> bool, at_most: usize) -> Vec<LastSeen> {
        let mut taken = Vec::new();
        while taken.len() < at_most
            && let Some(sighting) = self.first.pop(&due).or_else(|| self.later.pop(&due))
        {
            taken.push(sighting);
        }
        sorted_once_each(taken)
    }
}

// === impl LastSeenOrder ===

impl LastSeenOrder {
    fn new(delay: i64) -> Self {
        Self { waiting: VecDeque::new(), removed: 0, delay }
    }

    /// The entry with this number, if it still waits.
    fn find(&mut self, number: u64) -> Option<&mut LastSeen> {
        let place = usize::try_from(number.checked_sub(self.removed + 1)?).ok()?;
        self.waiting.get_mut(place).map(|waiting| &mut waiting.sighting)
    }

    /// Appends an entry; returns its number, from 1.
    fn push(&mut self, sighting: LastSeen) -> u64 {
        self.waiting
            .push_back(Waiting { due: sighting.last_seen.plus_seconds(self.delay), sighting });
        self.removed + self.waiting.len() as u64
    }

    fn pop(&mut self, due: impl Fn(Timestamp) -> bool) -> Option<LastSeen> {
        let Waiting { sighting, .. } = self.waiting.pop_front_if(|waiting| due(waiting.due))?;
        self.removed += 1;
        Some(sighting)
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.waiting.front().map(|waiting| waiting.due)
    }
}

// === impl Ticket ===

impl Ticket {
    /// Number of the entry, 0 before the first, and whether it is the first of its device.
    fn read(&self) -> (u64, bool) {
        let both = self.0.load(Ordering::Relaxed);
        (both >> 1, both & 1 == 1)
    }

    fn write(&self, number: u64, is_first: bool) {
        self.0.store(number << 1 | u64::from(is_first), Ordering::Relaxed);
    }
}

/// A device whose grant was renewed has two tickets; its row may be written only once.
fn sorted_once_each(mut sightings: Vec<LastSeen>) -> Vec<LastSeen> {
    sightings.sort_unstable_by(|one, other| one.device.cmp(&other.device));
    sightings.dedup_by(|later, kept| {
        let same = later.device == kept.device;
        if same {
            kept.last_seen = kept.last_seen.max(later.last_seen);
            kept.last_telemetry = kept.last_telemetry.max(later.last_telemetry);
        }
        same
    });
    sightings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device as a grant holds it.
    struct KnownDevice(DeviceKey, Ticket);

    fn device(name: &str) -> KnownDevice {
        KnownDevice(DeviceKey::new("t", name).unwrap(), Ticket::default())
    }

    impl LastSeenQueue {
        fn record_one(
            &mut self,
            KnownDevice(device, ticket): &KnownDevice,
            at: Timestamp,
            telemetry: bool,
        ) {
            self.record(device, ticket, at, telemetry);
        }
    }

    #[test]
    fn many_messages_of_a_device_become_one_row_with_the_latest_times() {
        let mut sightings = LastSeenQueue::default();
        let (pump, valve) = (device("pump"), device("valve"));
        let start = Timestamp::from_micros(1_000_000);
        sightings.record_one(&valve, start, true);
        sightings.record_one(&pump, start.plus_seconds(1), false);
        sightings.record_one(&pump, start.plus_seconds(2), true);
        sightings.record_one(&pump, start.plus_seconds(2), false);
        assert_eq!(sightings.take_due(start.plus_seconds(FIRST_DELAY - 1)), []);
        let due = sightings.take_due(start.plus_seconds(FIRST_DELAY + 1));
        let names: Vec<&str> = due.iter().map(|row| row.device.device()).collect();
        assert_eq!(names, ["pump", "valve"]);
        assert_eq!(due[0].last_seen, start.plus_seconds(2));
        assert_eq!(due[0].last_telemetry, Some(start.plus_seconds(2)));
        assert_eq!(sightings.next_due(), None);
    }

    #[test]
    fn a_device_with_two_tickets_is_one_row() {
        let mut sightings = LastSeenQueue::default();
        let start = Timestamp::from_micros(0);
        let (old, new) = (device("pump"), device("pump"));
        sightings.record_one(&old, start, true);
        sightings.record_one(&new, start.plus_seconds(1), false);
        let all = sightings.take_all();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].last_seen, all[0].last_telemetry), (start.plus_seconds(1), Some(start)));
    }

    #[test]
    fn a_ticket_of_a_written_entry_is_void() {
        let mut sightings = LastSeenQueue::default();
        let start = Timestamp::from_micros(0);
        let (pump, valve) = (device("pump"), device("valve"));
        sightings.record_one(&pump, start, true);
        assert_eq!(sightings.take_all().len(), 1);
        sightings.record_one(&valve, start.plus_seconds(1), true);
        sightings.record_one(&pump, start.plus_seconds(2), true);
        sightings.record_one(&valve, start.plus_seconds(3), true);
        let seen: Vec<_> = sightings
            .take_all()
            .into_iter()
            .map(|row| (row.device.device().to_string(), row.last_seen))
            .collect();
        assert_eq!(
            seen,
            [
                ("pump".to_owned(), start.plus_seconds(2)),
                ("valve".to_owned(), start.plus_seconds(3))
            ]
        );
    }

    #[test]
    fn a_device_that_publishes_steadily_is_written_less_often() {
        let mut sightings = LastSeenQueue::default();
        let start = Timestamp::from_micros(0);
        let pump = device("pump");
        sightings.record_one(&pump, start, true);
        let first = start.plus_seconds(FIRST_DELAY);
        assert_eq!(sightings.take_due(first).len(), 1);
        for second in 1..=DELAY {
            assert_eq!(sightings.take_due(first.plus_seconds(second)), []);
            sightings.record_one(&pump, first.plus_seconds(second), true);
        }
        assert_eq!(sightings.next_due(), Some(first.plus_seconds(1 + DELAY)));
        let due = sightings.take_due(first.plus_seconds(1 + DELAY));
        assert_eq!((due.len(), due[0].last_seen), (1, first.plus_seconds(DELAY)));
    }

    #[test]
    fn one_batch_in_a_period_carries_entries_and_a_backlog_uses_every_batch() {
        let mut sightings = LastSeenQueue::default();
        let start = Timestamp::from_micros(0);
        let devices: Vec<_> =
            (0..BACKLOG_MAX + 2 * BATCH_MAX).map(|number| device(&number.to_string())).collect();
        for device in &devices {
            sightings.record_one(device, start, true);
        }
        let later = start.plus_seconds(FIRST_DELAY);
        assert_eq!(
            sightings.take_due(later).len(),
            2 * BATCH_MAX,
            "all that is beyond a crowd goes"
        );
        assert_eq!(sightings.take_due(later).len(), BATCH_MAX, "a crowd waits");
        assert_eq!(
            sightings.take_due(later),
            [],
            "no crowd any more, and one batch just carried some"
        );
        assert_eq!(sightings.next_due(), Some(Timestamp::from_micros(later.micros() + PERIOD)));
        assert_eq!(sightings.take_due(later.plus_seconds(1)).len(), BATCH_MAX);
    }
}
