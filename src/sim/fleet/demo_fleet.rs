//! The demo's fleet: climate sensors, meters, doors, and one device for each fault; and the order in
//! which the devices of a group publish.
//!
//! It knows no broker, no registry and no clock.

use std::ops::Range;

use super::device::{DeviceFault, SimulatedDevice};
use super::device_messages::DeviceMessages;
use super::payload::PayloadStamp;
use super::payload_profile::PayloadProfile;
use super::simulated_fleet::{Auth, FleetOptions, SimulatedFleet};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::Packet;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;

/// The tenant of the demo's devices; no real tenant has this name.
pub const TENANT: &str = "sluice-demo";

/// The device whose certificate is revoked while it publishes.
pub const REVOKED_DEVICE: &str = "stolen";

/// The device that answers a command and renews its certificate. It publishes nothing else.
pub const ANSWERING_DEVICE: &str = "valve";

/// Every n-th message of a group comes from a faulty device.
const FAULT_EVERY: u64 = 25;

/// The profiles of the valid devices, in turn, each with the beginning of their names.
const PROFILES: [(PayloadProfile, &str); 3] = [
    (PayloadProfile::Climate, "climate"),
    (PayloadProfile::Meter, "meter"),
    (PayloadProfile::Door, "door"),
];

/// The device for each reason that a device can cause. A reason without a device here is caused by
/// a setting, or by the device to revoke.
const REFUSED_DEVICES: [(Reason, &str); 12] = [
    (Reason::TokenInvalid, "wrong-token"),
    (Reason::TokenMissing, "no-token"),
    (Reason::UnregisteredDevice, "unregistered"),
    (Reason::DeviceRevoked, "revoked"),
    (Reason::TenantMismatch, "other-tenant"),
    (Reason::SiteMismatch, "moved-away"),
    (Reason::BadTimestamp, "odd-clock"),
    (Reason::TimestampOutOfRange, "stopped-clock"),
    (Reason::BadPayload, "bad-payload"),
    (Reason::StoreRejected, "sends-nul"),
    (Reason::PayloadTooLarge, "too-large"),
    (Reason::BadTopicFormat, "bad-topic"),
];

/// Size and faults of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct DemoFleetSpec {
    /// Valid devices.
    pub devices: usize,
    /// Largest accepted payload in bytes.
    pub largest: usize,
    /// Messages of the bursting device's burst; `None` means no bursting device.
    pub burst: Option<usize>,
    /// Whether there is a device that answers a command and renews its certificate.
    pub has_way_back: bool,
}

/// A group of devices that publish in turn. The first `valid` devices have no fault.
pub struct DeviceGroupSpec {
    devices: Vec<(SimulatedDevice, DeviceMessages)>,
    valid: usize,
    turn: u64,
    stamp: PayloadStamp,
}

// === impl DemoFleetSpec ===

impl DemoFleetSpec {
    /// The devices. The one to revoke is the last valid device.
    pub fn fleet(&self, secret: [u8; 32]) -> SimulatedFleet {
        let options = FleetOptions {
            auth: Auth::Certificate,
            is_issued: true,
            largest: self.largest,
            at_least_once: true,
        };
        let device = |number: usize, name: String, profile, fault| {
            SimulatedDevice::new(TENANT.to_owned(), name, number, profile, fault)
        };
        let mut valid: Vec<_> = (0..self.devices)
            .map(|number| {
                let (profile, prefix) = PROFILES[number % PROFILES.len()];
                device(number, format!("{prefix}-{}", number / PROFILES.len()), profile, None)
            })
            .collect();
        if self.has_way_back {
            valid.push(device(1, ANSWERING_DEVICE.to_owned(), PayloadProfile::Door, None));
        }
        valid.push(device(0, REVOKED_DEVICE.to_owned(), PayloadProfile::Climate, None));
        let faulty = self.faults().into_iter().enumerate().map(|(number, (name, fault))| {
            device(number, name.to_owned(), PayloadProfile::Climate, Some(fault))
        });
        SimulatedFleet::new(valid, faulty.collect(), options, secret)
    }

    fn faults(&self) -> Vec<(&'static str, DeviceFault)> {
        let refused = REFUSED_DEVICES.map(|(reason, name)| (name, DeviceFault::Refused(reason)));
        let mut faults = refused.to_vec();
        faults.push(("sends-twice", DeviceFault::Repeats));
        faults.push(("impostor", DeviceFault::Impostor("climate-0")));
        faults.extend(self.burst.map(|messages| ("bursts", DeviceFault::Bursts(messages))));
        faults
    }
}

/// Divides the devices among `count` groups. One more group, the last, is the device to revoke.
pub fn groups(
    fleet: &SimulatedFleet,
    count: usize,
    now: Timestamp,
) -> Result<Vec<DeviceGroupSpec>, BrokerError> {
    let mut groups: Vec<_> = (0..=count).map(|_| DeviceGroupSpec::empty(now)).collect();
    let publishing = fleet.valid().iter().filter(|device| device.device != ANSWERING_DEVICE);
    let (to_revoke, valid): (Vec<&SimulatedDevice>, Vec<_>) =
        publishing.partition(|device| device.device == REVOKED_DEVICE);
    for (number, device) in valid.into_iter().enumerate() {
        groups[number % count].add(fleet, device, now)?;
    }
    for device in to_revoke {
        groups[count].add(fleet, device, now)?;
    }
    for (number, device) in fleet.faulty().iter().enumerate() {
        groups[number % count].add(fleet, device, now)?;
    }
    Ok(groups)
}

// === impl DeviceGroupSpec ===

impl DeviceGroupSpec {
    /// Its devices.
    pub fn devices(&self) -> impl Iterator<Item = &SimulatedDevice> {
        self.devices.iter().map(|(device, _)| device)
    }

    /// The index of the device that publishes next; `None` means the group is empty.
    pub fn next_turn(&mut self) -> Option<usize> {
        self.turn += 1;
        if self.turn.is_multiple_of(FAULT_EVERY) {
            let in_turn: Vec<_> =
                self.faulty().filter(|index| self.devices[*index].0.burst() == 0).collect();
            if let Some(place) = index_of_turn(self.turn / FAULT_EVERY, in_turn.len()) {
                return Some(in_turn[place]);
            }
        }
        index_of_turn(self.turn, self.valid)
    }

    /// The index of each bursting device, once for each message of its burst.
    pub fn bursts(&self) -> Vec<usize> {
        let each = |index: usize| std::iter::repeat_n(index, self.devices[index].0.burst());
        self.faulty().flat_map(each).collect()
    }

    /// The next message of the device with this index.
    pub fn next_message(&mut self, index: usize, now: Timestamp) -> &mut Packet {
        self.stamp.set(now);
        self.devices[index].1.next(&self.stamp)
    }

    fn empty(now: Timestamp) -> Self {
        Self { devices: Vec::new(), valid: 0, turn: 0, stamp: PayloadStamp::new(now) }
    }

    fn add(
        &mut self,
        fleet: &SimulatedFleet,
        device: &SimulatedDevice,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let seed = device.device.bytes().fold(1, |seed, byte| seed * 31 % 65_521 + u64::from(byte));
        let messages = DeviceMessages::new(fleet.payload_writer(device), device.fault, seed, now)?;
        self.valid += usize::from(device.fault.is_none());
        self.devices.push((device.clone(), messages));
        Ok(())
    }

    fn faulty(&self) -> Range<usize> {
        self.valid..self.devices.len()
    }
}

// === private helpers ===

/// The index in a group of `count`; `None` means it is empty.
fn index_of_turn(turn: u64, count: usize) -> Option<usize> {
    usize::try_from(turn.checked_rem(count as u64)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::device::Rights;
    use super::*;
    use crate::domain::device::DeviceStatus;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_007);

    fn fleet() -> SimulatedFleet {
        spec(false).fleet([1; 32])
    }

    fn spec(has_way_back: bool) -> DemoFleetSpec {
        DemoFleetSpec { devices: 8, largest: 20_000, burst: Some(7), has_way_back }
    }

    /// The device and the encoded packet of this many messages of the group.
    fn messages(group: &mut DeviceGroupSpec, count: usize) -> Vec<(SimulatedDevice, Vec<u8>)> {
        let mut all = Vec::new();
        for _ in 0..count {
            let Some(index) = group.next_turn() else { break };
            let bytes = group.next_message(index, NOW).bytes().to_vec();
            all.push((group.devices[index].0.clone(), bytes));
        }
        all
    }

    #[test]
    fn every_device_has_a_turn_and_only_the_repeating_one_sends_a_message_twice() {
        let mut groups = groups(&fleet(), 3, NOW).unwrap();
        let all: Vec<_> = groups.iter_mut().flat_map(|group| messages(group, 1000)).collect();
        for device in fleet().devices() {
            let has_turn = all.iter().any(|(publisher, _)| publisher.device == device.device);
            assert_eq!(has_turn, device.burst() == 0, "{}", device.device);
        }
        let of = |repeats: bool| {
            let mut own: Vec<_> = all
                .iter()
                .filter(|(device, _)| (device.fault == Some(DeviceFault::Repeats)) == repeats)
                .map(|(_, bytes)| bytes)
                .collect();
            own.sort();
            let before = own.len();
            own.dedup();
            (before, own.len())
        };
        let (sent, distinct) = of(false);
        assert_eq!(sent, distinct);
        let (sent, distinct) = of(true);
        assert_eq!(sent.div_ceil(2), distinct);
        assert_eq!(groups.iter().map(|group| group.bursts().len()).sum::<usize>(), 7);
    }

    #[test]
    fn the_device_that_answers_a_command_is_registered_and_publishes_nothing_in_turn() {
        let fleet = spec(true).fleet([1; 32]);
        let is_it = |device: &str| device == ANSWERING_DEVICE;
        assert!(fleet.registrations().iter().any(|known| is_it(&known.device)));
        for group in &mut groups(&fleet, 2, NOW).unwrap() {
            assert!(group.devices().all(|device| !is_it(&device.device)));
        }
    }

    #[test]
    fn all_but_the_unregistered_device_are_registered() {
        let fleet = fleet();
        let registrations = fleet.registrations();
        assert_eq!(registrations.len(), 8 + 1 + fleet.faulty().len() - 1);
        assert!(registrations.iter().all(|registration| registration.device != "unregistered"));
        let revoked = registrations
            .iter()
            .filter(|registration| registration.status == DeviceStatus::Revoked);
        assert_eq!(revoked.count(), 1);
        assert_eq!(registrations.iter().filter(|known| known.token.is_some()).count(), 2);
        assert_eq!(fleet.devices().iter().filter(|device| device.is_stray()).count(), 4);
    }

    #[test]
    fn every_device_but_the_impostor_publishes_on_its_own_topics() {
        for group in &mut groups(&fleet(), 2, NOW).unwrap() {
            for (device, bytes) in messages(group, 1000) {
                let prefix = format!("tenant/{TENANT}/device/{}/", device.device);
                let own = bytes.windows(prefix.len()).any(|part| part == prefix.as_bytes());
                assert_eq!(own, device.device != "impostor", "{}", device.device);
                assert_eq!(own, device.rights() != Rights::Foreign, "{}", device.device);
                let deep = bytes.windows(2).any(|part| part == b"//");
                let is_telemetry = bytes.windows(12).any(|part| part == b"/telemetry//");
                assert_eq!(deep, is_telemetry, "the broker refuses levels below other types");
            }
        }
    }
}
