//! When each device was last heard, gathered so that `device_state` is written once for many messages.
//!
//! A row per device and batch would double what a message costs Postgres. So a sighting waits [`DELAY`] for others of the
//! same device, and each batch carries only as many as its share. What a kill loses is the freshness of `last_seen_at`
//! by that delay; the telemetry table holds the truth.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::batch::Sighting;
use crate::domain::ids::DeviceKey;
use crate::domain::time::Timestamp;

/// How long a sighting waits for others of the same device, in seconds.
pub const DELAY: i64 = 2;

/// The least a batch may carry, however small it is.
const AT_LEAST: usize = 64;

/// A batch carries one sighting for so many of its messages...
const SHARE: usize = 4;

/// ...unless this many wait: then one for each message, so that the queue cannot grow further.
const CROWD: usize = 20_000;

/// Sightings that wait, by the device's address; the `Arc` is held, so an address stands for one device.
#[derive(Debug, Default)]
pub struct Sightings {
    waiting: HashMap<usize, Sighting>,
    order: VecDeque<(Timestamp, usize)>,
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

    /// When the next sighting is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.order.front().map(|(due, _)| *due)
    }

    /// Those that are due at this moment, as many as a batch of this size carries, in the order of devices.
    pub fn take_due(&mut self, now: Timestamp, messages: usize) -> Vec<Sighting> {
        let share = if self.order.len() > CROWD { messages } else { messages / SHARE };
        self.take(|due| due <= now, share.max(AT_LEAST))
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
        assert_eq!(sightings.take_due(start.plus_seconds(DELAY - 1), 1), []);
        let due = sightings.take_due(start.plus_seconds(DELAY + 1), 1);
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
    fn a_batch_carries_its_share_and_a_crowd_is_worked_off() {
        let mut sightings = Sightings::default();
        let start = Timestamp::from_micros(0);
        let devices: Vec<_> = (0..=CROWD).map(|number| device(&number.to_string())).collect();
        for device in &devices {
            sightings.saw(device, start, true);
        }
        let later = start.plus_seconds(DELAY);
        assert_eq!(sightings.take_due(later, 1000).len(), 1000, "a crowd waits: one for each message");
        assert_eq!(sightings.take_due(later, 1000).len(), 250, "no crowd any more: the batch's share");
        assert_eq!(sightings.take_due(later, 1).len(), AT_LEAST);
    }
}
