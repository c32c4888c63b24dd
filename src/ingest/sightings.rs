//! When each device was last heard, gathered so that `device_state` is written once for many messages.
//!
//! A row per device and batch would double what a message costs Postgres. So a sighting waits [`DELAY`] for others of the
//! same device, and only one batch in a while carries those that are due: a batch without them is one statement. What a
//! kill loses is the freshness of `last_seen_at` by that delay; the telemetry table holds the truth.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

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

/// Sightings that wait, by the device's address; the `Arc` is held, so an address stands for one device.
#[derive(Debug, Default)]
pub struct Sightings {
    waiting: HashMap<usize, Sighting>,
    order: VecDeque<(Timestamp, usize)>,
    next_batch: Timestamp,
}

// === impl Sightings ===

impl Sightings {
    /// A message of this device was accepted.
    pub fn saw(&mut self, device: &Arc<DeviceKey>, at: Timestamp, telemetry: bool) {
        let address = Arc::as_ptr(device).addr();
        let order = &mut self.order;
        let sighting = self.waiting.entry(address).or_insert_with(|| {
            order.push_back((at.plus_seconds(DELAY), address));
            Sighting { device: Arc::clone(device), last_seen: at, last_telemetry: None }
        });
        sighting.last_seen = sighting.last_seen.max(at);
        if telemetry {
            sighting.last_telemetry = sighting.last_telemetry.max(Some(at));
        }
    }

    /// When a batch should next carry sightings.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.order.front().map(|(due, _)| self.next_batch.max(*due))
    }

    /// Those that are due at this moment, as many as a batch carries, in the order of devices.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Sighting> {
        if now < self.next_batch && self.order.len() < CROWD {
            return Vec::new();
        }
        let beyond = self.order.len().saturating_sub(CROWD);
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
        while taken.len() < at_most && self.order.front().is_some_and(|(moment, _)| due(*moment)) {
            let sighting = self.order.pop_front().and_then(|(_, address)| self.waiting.remove(&address));
            taken.extend(sighting);
        }
        sorted_once_each(taken)
    }
}

/// A device whose grant was renewed meanwhile stands under two addresses; its row may be written only once.
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

    fn device(name: &str) -> Arc<DeviceKey> {
        Arc::new(DeviceKey::new("t", name).unwrap())
    }

    #[test]
    fn many_messages_of_a_device_become_one_row_with_the_latest_times() {
        let mut sightings = Sightings::default();
        let (pump, valve) = (device("pump"), device("valve"));
        let start = Timestamp::from_micros(1_000_000);
        sightings.saw(&valve, start, true);
        sightings.saw(&pump, start.plus_seconds(1), false);
        sightings.saw(&pump, start.plus_seconds(2), true);
        sightings.saw(&pump, start.plus_seconds(2), false);
        assert_eq!(sightings.take_due(start.plus_seconds(DELAY - 1)), []);
        let due = sightings.take_due(start.plus_seconds(DELAY + 1));
        let names: Vec<&str> = due.iter().map(|row| row.device.device.as_str()).collect();
        assert_eq!(names, ["pump", "valve"]);
        assert_eq!(due[0].last_seen, start.plus_seconds(2));
        assert_eq!(due[0].last_telemetry, Some(start.plus_seconds(2)));
        assert_eq!(sightings.next_due(), None);
    }

    #[test]
    fn a_device_under_two_addresses_is_one_row() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let (old, new) = (device("pump"), device("pump"));
        sightings.saw(&old, start, true);
        sightings.saw(&new, start.plus_seconds(1), false);
        let all = sightings.take_all();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].last_seen, all[0].last_telemetry), (start.plus_seconds(1), Some(start)));
    }

    #[test]
    fn one_batch_in_a_while_carries_them_and_a_crowd_is_worked_off_by_all() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let devices: Vec<_> = (0..CROWD + 2 * AT_MOST).map(|number| device(&number.to_string())).collect();
        for device in &devices {
            sightings.saw(device, start, true);
        }
        let later = start.plus_seconds(DELAY);
        assert_eq!(sightings.take_due(later).len(), 2 * AT_MOST, "all that is beyond a crowd goes");
        assert_eq!(sightings.take_due(later).len(), AT_MOST, "a crowd waits");
        assert_eq!(sightings.take_due(later), [], "no crowd any more, and one batch just carried some");
        assert_eq!(sightings.next_due(), Some(Timestamp::from_micros(later.micros() + PERIOD)));
        assert_eq!(sightings.take_due(later.plus_seconds(1)).len(), AT_MOST);
    }
}
