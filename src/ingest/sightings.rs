//! When each device was last heard, gathered so that `device_state` is written once for many messages.
//!
//! A row per device and batch would double what a message costs Postgres. So a sighting waits [`DELAY`] for others of the
//! same device, and only one batch in a while carries those that are due: a batch without them is one statement. What a
//! kill loses is the freshness of `last_seen_at` by that delay; the telemetry table holds the truth.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::batch::Sighting;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// How long a sighting waits for others of the same device, in seconds.
pub const DELAY: i64 = 5;

/// Microseconds between two batches that carry sightings.
const PERIOD: i64 = 250_000;

/// The most that one batch carries: some milliseconds of Postgres' time.
const AT_MOST: usize = 1_000;

/// When this many wait, every batch carries a share, and all that is due beyond them, so that the queue cannot grow further
/// however large the batches are.
const CROWD: usize = 20_000;

/// Where the sighting of a device waits: its number in the queue, counted from 1 and never used again. It stands with what
/// is known of the device, so no map is needed to find it. Only the one task that owns the queue writes it.
#[derive(Debug, Default)]
pub struct Ticket(AtomicU64);

/// Sightings that wait, oldest first; all wait equally long.
#[derive(Debug, Default)]
pub struct Sightings {
    waiting: VecDeque<Waiting>,
    /// How many have left the queue: the number of the one in front is one more.
    gone: u64,
    next_batch: Timestamp,
}

#[derive(Debug)]
struct Waiting {
    due: Timestamp,
    sighting: Sighting,
}

// === impl Sightings ===

impl Sightings {
    /// A message of this device was accepted.
    pub fn saw(&mut self, device: &Arc<DeviceKey>, ticket: &Ticket, at: Timestamp, telemetry: bool) {
        let last_telemetry = telemetry.then_some(at);
        let place = ticket.0.load(Ordering::Relaxed).checked_sub(self.gone + 1);
        let waiting = place.and_then(|place| self.waiting.get_mut(usize::try_from(place).ok()?));
        if let Some(Waiting { sighting, .. }) = waiting {
            sighting.last_seen = sighting.last_seen.max(at);
            sighting.last_telemetry = sighting.last_telemetry.max(last_telemetry);
            return;
        }
        let sighting = Sighting { device: Arc::clone(device), last_seen: at, last_telemetry };
        self.waiting.push_back(Waiting { due: at.plus_seconds(DELAY), sighting });
        ticket.0.store(self.gone + self.waiting.len() as u64, Ordering::Relaxed);
    }

    /// When a batch should next carry sightings.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.front().map(|waiting| self.next_batch.max(waiting.due))
    }

    /// Those that are due at this moment, as many as a batch carries, in the order of devices.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Sighting> {
        if now < self.next_batch && self.waiting.len() < CROWD {
            return Vec::new();
        }
        let beyond = self.waiting.len().saturating_sub(CROWD);
        let taken = self.take(|due| due <= now, AT_MOST.max(beyond));
        if !taken.is_empty() {
            self.next_batch = Timestamp::from_micros(now.micros() + PERIOD);
        }
        taken
    }

    /// All of them, at the end.
    pub fn take_all(&mut self) -> Vec<Sighting> {
        self.take(|_| true, usize::MAX)
    }

    fn take(&mut self, due: impl Fn(Timestamp) -> bool, at_most: usize) -> Vec<Sighting> {
        let mut taken = Vec::new();
        while taken.len() < at_most
            && let Some(Waiting { sighting, .. }) = self.waiting.pop_front_if(|waiting| due(waiting.due))
        {
            self.gone += 1;
            taken.push(sighting);
        }
        sorted_once_each(taken)
    }
}

/// A device whose grant was renewed meanwhile has two tickets; its row may be written only once.
fn sorted_once_each(mut sightings: Vec<Sighting>) -> Vec<Sighting> {
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
    struct Known(Arc<DeviceKey>, Ticket);

    fn device(name: &str) -> Known {
        Known(Arc::new(DeviceKey::new("t", name).unwrap()), Ticket::default())
    }

    impl Sightings {
        fn saw_one(&mut self, Known(device, ticket): &Known, at: Timestamp, telemetry: bool) {
            self.saw(device, ticket, at, telemetry);
        }
    }

    #[test]
    fn many_messages_of_a_device_become_one_row_with_the_latest_times() {
        let mut sightings = Sightings::default();
        let (pump, valve) = (device("pump"), device("valve"));
        let start = Timestamp::from_micros(1_000_000);
        sightings.saw_one(&valve, start, true);
        sightings.saw_one(&pump, start.plus_seconds(1), false);
        sightings.saw_one(&pump, start.plus_seconds(2), true);
        sightings.saw_one(&pump, start.plus_seconds(2), false);
        assert_eq!(sightings.take_due(start.plus_seconds(DELAY - 1)), []);
        let due = sightings.take_due(start.plus_seconds(DELAY + 1));
        let names: Vec<&str> = due.iter().map(|row| row.device.device.as_str()).collect();
        assert_eq!(names, ["pump", "valve"]);
        assert_eq!(due[0].last_seen, start.plus_seconds(2));
        assert_eq!(due[0].last_telemetry, Some(start.plus_seconds(2)));
        assert_eq!(sightings.next_due(), None);
    }

    #[test]
    fn a_device_with_two_tickets_is_one_row() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let (old, new) = (device("pump"), device("pump"));
        sightings.saw_one(&old, start, true);
        sightings.saw_one(&new, start.plus_seconds(1), false);
        let all = sightings.take_all();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].last_seen, all[0].last_telemetry), (start.plus_seconds(1), Some(start)));
    }

    #[test]
    fn a_ticket_of_a_sighting_that_was_written_stands_for_nothing() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let (pump, valve) = (device("pump"), device("valve"));
        sightings.saw_one(&pump, start, true);
        assert_eq!(sightings.take_all().len(), 1);
        sightings.saw_one(&valve, start.plus_seconds(1), true);
        sightings.saw_one(&pump, start.plus_seconds(2), true);
        sightings.saw_one(&valve, start.plus_seconds(3), true);
        let seen: Vec<_> = sightings.take_all().into_iter().map(|row| (row.device.device.to_string(), row.last_seen)).collect();
        assert_eq!(seen, [("pump".to_owned(), start.plus_seconds(2)), ("valve".to_owned(), start.plus_seconds(3))]);
    }

    #[test]
    fn one_batch_in_a_while_carries_them_and_a_crowd_is_worked_off_by_all() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let devices: Vec<_> = (0..CROWD + 2 * AT_MOST).map(|number| device(&number.to_string())).collect();
        for device in &devices {
            sightings.saw_one(device, start, true);
        }
        let later = start.plus_seconds(DELAY);
        assert_eq!(sightings.take_due(later).len(), 2 * AT_MOST, "all that is beyond a crowd goes");
        assert_eq!(sightings.take_due(later).len(), AT_MOST, "a crowd waits");
        assert_eq!(sightings.take_due(later), [], "no crowd any more, and one batch just carried some");
        assert_eq!(sightings.next_due(), Some(Timestamp::from_micros(later.micros() + PERIOD)));
        assert_eq!(sightings.take_due(later.plus_seconds(1)).len(), AT_MOST);
    }
}
