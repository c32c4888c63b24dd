//! The demo's fleet: climate sensors, meters, doors, and a few devices with a fault.
//!
//! It knows no broker, no registry and no clock. [`demo_faults`](super::demo_faults) defines the
//! faults.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::demo_faults::DeviceFault;
use super::demo_message::{DemoMessage, Rights, TENANT, encode};
use crate::domain::device::DeviceStatus;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::registry::bulk_enroll::DeviceToEnroll;

/// The device whose certificate is revoked while it publishes.
pub const REVOKED_DEVICE: &str = "stolen";

/// The sites of the devices.
const SITES: [&str; 3] = ["north", "south", "harbour"];

/// Every n-th message of a group comes from a faulty device.
const FAULT_EVERY: u64 = 25;

/// Every n-th message of a device is a heartbeat.
const HEARTBEAT_EVERY: u64 = 30;

/// Size and faults of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct DemoFleetSpec {
    /// Good devices.
    pub devices: usize,
    /// Bytes of a payload that is too large.
    pub oversize: usize,
    /// Messages of the bursting device's burst; `None` means no bursting device.
    pub burst: Option<usize>,
}

/// All devices.
#[derive(Debug)]
pub struct DemoFleet {
    members: Vec<DemoDevice>,
    device_to_revoke: DemoDevice,
}

/// A message and the device of the group that publishes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoPublish {
    /// The device's index in the group.
    pub by: usize,
    /// The message.
    pub message: DemoMessage,
}

/// A group of devices that publish in turn. The first `good` members have no fault.
#[derive(Debug)]
pub struct DeviceGroupSpec {
    members: Vec<DemoDevice>,
    good: usize,
    turn: u64,
}

#[derive(Debug)]
struct DemoDevice {
    device: String,
    site: &'static str,
    behaviour: DeviceBehaviour,
    rng: FleetRng,
    seq: u64,
}

#[derive(Debug)]
enum DeviceBehaviour {
    /// Temperature and humidity, drifting.
    Climate { temperature: f64, humidity: f64 },
    /// A meter that only counts up.
    Meter { watt_hours: f64 },
    /// A door that alternates between open and closed.
    Door { open: bool },
    /// A device with a fault.
    Faulty(DeviceFault),
}

/// A splitmix64 generator; a simulation needs no better one.
#[derive(Clone, Debug)]
struct FleetRng(u64);

// === impl DemoFleet ===

impl DemoFleet {
    /// Creates the devices.
    pub fn new(spec: DemoFleetSpec) -> Self {
        let faults = DeviceFault::all(spec.oversize, spec.burst)
            .into_iter()
            .map(|fault| (fault.name().to_owned(), DeviceBehaviour::Faulty(fault)));
        let climate = || DeviceBehaviour::Climate { temperature: 21.0, humidity: 45.0 };
        let good = (0..spec.devices).map(|number| match number % 3 {
            0 => (format!("climate-{number}"), climate()),
            1 => (format!("meter-{number}"), DeviceBehaviour::Meter { watt_hours: 0.0 }),
            _ => (format!("door-{number}"), DeviceBehaviour::Door { open: false }),
        });
        let members = good.chain(faults).enumerate();
        let members = members
            .map(|(number, (device, behaviour))| DemoDevice::new(device, behaviour, number as u64))
            .collect();
        Self {
            members,
            device_to_revoke: DemoDevice::new(REVOKED_DEVICE.to_owned(), climate(), u64::MAX),
        }
    }

    /// The devices to register. Their token hash is of random bytes, so that no token matches.
    pub fn registrations(&self, random: [u8; 32]) -> Vec<DeviceToEnroll> {
        let known = self.all().filter(|member| !member.is(&DeviceFault::Unregistered));
        let registration = |member: &DemoDevice| DeviceToEnroll {
            tenant: TENANT.to_owned(),
            device: member.device.clone(),
            site: member.site,
            status: if member.is(&DeviceFault::Revoked) {
                DeviceStatus::Revoked
            } else {
                DeviceStatus::Active
            },
            token: member
                .fault()
                .is_some_and(DeviceFault::has_token)
                .then(|| TokenHash::of(random)),
            certificate: false,
        };
        known.map(registration).collect()
    }

    /// The name of each device, and whether the registry does not know its certificate.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.all().map(|member| {
            (member.device.as_str(), member.fault().is_some_and(DeviceFault::is_stray))
        })
    }

    /// Number of faulty devices.
    pub fn faulty(&self) -> usize {
        self.members.iter().filter(|member| member.fault().is_some()).count()
    }

    /// Divides the devices among `count` groups. One more group, the last, holds the device to
    /// revoke.
    pub fn into_groups(self, count: usize) -> Vec<DeviceGroupSpec> {
        let mut groups: Vec<_> =
            (0..count).map(|_| DeviceGroupSpec { members: Vec::new(), good: 0, turn: 0 }).collect();
        let (faulty, good): (Vec<_>, Vec<_>) =
            self.members.into_iter().partition(|member| member.fault().is_some());
        for (number, member) in good.into_iter().enumerate() {
            groups[number % count].members.push(member);
            groups[number % count].good += 1;
        }
        for (number, member) in faulty.into_iter().enumerate() {
            groups[number % count].members.push(member);
        }
        groups.push(DeviceGroupSpec { members: vec![self.device_to_revoke], good: 1, turn: 0 });
        groups
    }

    fn all(&self) -> impl Iterator<Item = &DemoDevice> {
        self.members.iter().chain([&self.device_to_revoke])
    }
}

// === impl DeviceGroupSpec ===

impl DeviceGroupSpec {
    /// The names of its devices, by index.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.device.as_str())
    }

    /// The rights of its devices, by index.
    pub fn rights(&self) -> impl Iterator<Item = Rights> {
        self.members.iter().map(|member| member.fault().map_or(Rights::Own, DeviceFault::rights))
    }

    /// The next message of the group; `None` means it has no device.
    pub fn next(&mut self, now: Timestamp) -> Option<DemoPublish> {
        self.turn += 1;
        if self.turn.is_multiple_of(FAULT_EVERY) {
            let patient: Vec<_> =
                self.faulty().filter(|place| self.members[*place].burst() == 0).collect();
            if let Some(place) = index_of_turn(self.turn / FAULT_EVERY, patient.len()) {
                return Some(self.next_message(patient[place], now));
            }
        }
        index_of_turn(self.turn, self.good).map(|place| self.next_message(place, now))
    }

    /// One burst of each bursting device.
    pub fn bursts(&mut self, now: Timestamp) -> Vec<DemoPublish> {
        let bursting =
            self.faulty().flat_map(|place| std::iter::repeat_n(place, self.members[place].burst()));
        bursting
            .collect::<Vec<_>>()
            .into_iter()
            .map(|place| self.next_message(place, now))
            .collect()
    }

    fn faulty(&self) -> Range<usize> {
        self.good..self.members.len()
    }

    fn next_message(&mut self, by: usize, now: Timestamp) -> DemoPublish {
        DemoPublish { by, message: self.members[by].next_message(now) }
    }
}

// === impl DemoDevice ===

impl DemoDevice {
    fn new(device: String, behaviour: DeviceBehaviour, number: u64) -> Self {
        // The site follows from the name, so a fleet of another size keeps it.
        let site = SITES[device.bytes().map(usize::from).sum::<usize>() % SITES.len()];
        Self { device, site, behaviour, rng: FleetRng(number), seq: 0 }
    }

    fn fault(&self) -> Option<&DeviceFault> {
        match &self.behaviour {
            DeviceBehaviour::Faulty(fault) => Some(fault),
            _ => None,
        }
    }

    fn is(&self, fault: &DeviceFault) -> bool {
        self.fault() == Some(fault)
    }

    /// Messages of one burst; 0 for a device that publishes in turn.
    fn burst(&self) -> usize {
        match self.behaviour {
            DeviceBehaviour::Faulty(DeviceFault::Bursts(messages)) => messages,
            _ => 0,
        }
    }

    fn next_message(&mut self, now: Timestamp) -> DemoMessage {
        if let DeviceBehaviour::Faulty(DeviceFault::Repeats(repeat)) = &mut self.behaviour
            && let Some(message) = repeat.take()
        {
            return message;
        }
        self.seq += 1;
        let (kind, metrics) = self.measure();
        let mut fields = Map::new();
        fields.insert("ts".into(), json!(now.to_string()));
        fields.insert("seq".into(), json!(self.seq));
        fields.insert("site_id".into(), json!(self.site));
        fields.insert("metrics".into(), metrics);
        let topic = format!("tenant/{TENANT}/device/{}/{kind}", self.device);
        match &mut self.behaviour {
            DeviceBehaviour::Faulty(fault) => fault.apply(topic, fields),
            _ => encode(topic, fields),
        }
    }

    /// The next message type and its metrics.
    fn measure(&mut self) -> (&'static str, Value) {
        if self.seq.is_multiple_of(HEARTBEAT_EVERY) {
            return (
                "heartbeat",
                json!({ "uptime_s": self.seq, "rssi_dbm": rounded(self.rng.between(-90.0, -40.0)) }),
            );
        }
        let rng = &mut self.rng;
        match &mut self.behaviour {
            DeviceBehaviour::Climate { temperature, humidity } => {
                *temperature = (*temperature + rng.between(-0.2, 0.2)).clamp(-20.0, 45.0);
                *humidity = (*humidity + rng.between(-0.5, 0.5)).clamp(5.0, 95.0);
                let metrics = json!({ "temperature_c": rounded(*temperature), "humidity_pct": rounded(*humidity) });
                ("telemetry", metrics)
            }
            DeviceBehaviour::Meter { watt_hours } => {
                let watts = rng.between(80.0, 2400.0);
                *watt_hours += watts / 360.0;
                (
                    "telemetry/power",
                    json!({ "power_w": rounded(watts), "energy_wh": rounded(*watt_hours) }),
                )
            }
            DeviceBehaviour::Door { open } => {
                *open = !*open;
                ("event", json!({ "door": if *open { "opened" } else { "closed" } }))
            }
            DeviceBehaviour::Faulty(_) => {
                ("telemetry", json!({ "temperature_c": rounded(rng.between(15.0, 25.0)) }))
            }
        }
    }
}

// === impl FleetRng ===

impl FleetRng {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }
}

// === private helpers ===

/// The index in a group of `count`; `None` means it is empty.
fn index_of_turn(turn: u64, count: usize) -> Option<usize> {
    usize::try_from(turn.checked_rem(count as u64)?).ok()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> DemoFleet {
        DemoFleet::new(DemoFleetSpec { devices: 8, oversize: 20_000, burst: Some(7) })
    }

    #[test]
    fn every_device_has_a_turn_and_no_two_messages_are_the_same_but_those_said_twice() {
        let mut groups = fleet().into_groups(3);
        let now = Timestamp::from_micros(1_000_000);
        let mut messages = Vec::new();
        let mut spoke = Vec::new();
        for group in &mut groups {
            let published: Vec<_> = (0..1000).filter_map(|_| group.next(now)).collect();
            let names: Vec<_> = group.names().map(str::to_owned).collect();
            spoke.extend(published.iter().map(|next| names[next.by].clone()));
            messages.extend(published.into_iter().map(|next| next.message));
        }
        for (name, _) in fleet().names() {
            assert_eq!(spoke.iter().any(|one| one == name), name != "bursts", "{name}");
        }
        messages.retain(|message| {
            !["sends-twice", "sends-csv"].iter().any(|name| message.topic.contains(name))
        });
        let before = messages.len();
        messages
            .sort_by(|one, other| (&one.topic, &one.payload).cmp(&(&other.topic, &other.payload)));
        messages.dedup();
        assert_eq!(messages.len(), before);
        let bursts: usize = groups.iter_mut().map(|group| group.bursts(now).len()).sum();
        assert_eq!(bursts, 7);
    }

    #[test]
    fn the_registry_learns_of_all_but_the_unregistered() {
        let fleet = fleet();
        let registrations = fleet.registrations([1; 32]);
        assert_eq!(registrations.len(), 8 + fleet.faulty() - 1 + 1);
        assert!(registrations.iter().all(|registration| registration.device != "unregistered"));
        let revoked = registrations
            .iter()
            .filter(|registration| registration.status == DeviceStatus::Revoked);
        assert_eq!(revoked.count(), 1);
        assert_eq!(fleet.names().filter(|(_, is_stray)| *is_stray).count(), 4);
    }

    #[test]
    fn every_device_but_the_impostor_speaks_in_its_own_name() {
        let now = Timestamp::from_micros(1_000_000);
        for group in &mut fleet().into_groups(2) {
            let names: Vec<_> = group.names().map(str::to_owned).collect();
            let rights: Vec<_> = group.rights().collect();
            for next in (0..1000).filter_map(|_| group.next(now)).collect::<Vec<_>>() {
                let own = next
                    .message
                    .topic
                    .starts_with(&format!("tenant/{TENANT}/device/{}/", names[next.by]));
                assert_eq!(own, names[next.by] != "impostor", "{}", next.message.topic);
                assert_eq!(own, rights[next.by] != Rights::Foreign, "{}", next.message.topic);
            }
        }
    }
}
