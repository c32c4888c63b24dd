//! A simulated fleet: sensors with random walks, meters that count, doors that open, and a few devices that misbehave.
//!
//! It knows no broker, no registry and no clock. How a device misbehaves is in [`fleet_fault`](super::demo_faults).

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::demo_faults::DeviceFault;
use crate::domain::device::{DeviceStatus, TokenHash};
use crate::domain::time::Timestamp;
use crate::store::registry::bulk_enroll::DeviceToEnroll;

/// Whose devices they are; no tenant of anybody's own is called that.
pub const TENANT: &str = "sluice-demo";

/// The device whose certificate is revoked while it speaks.
pub const DOOMED: &str = "stolen";

/// Where they stand.
const SITES: [&str; 3] = ["north", "south", "harbour"];

/// One message in so many comes from a device that misbehaves.
const FAULT_EVERY: u64 = 25;

/// One message in so many of a device is a heartbeat.
const HEARTBEAT_EVERY: u64 = 30;

/// What a fleet is made of.
#[derive(Clone, Copy, Debug)]
pub struct DemoFleetSpec {
    /// Devices that behave.
    pub devices: usize,
    /// Bytes of a payload that is too large.
    pub oversize: usize,
    /// Messages of the hasty device's outburst; none: there is no hasty device.
    pub outburst: Option<usize>,
}

/// All devices.
#[derive(Debug)]
pub struct DemoFleet {
    members: Vec<DemoDevice>,
    doomed: DemoDevice,
}

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoMessage {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
}

/// A message, and which device of the squad has to publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoPublish {
    /// Its place in the squad.
    pub by: usize,
    /// What it says.
    pub message: DemoMessage,
}

/// Some of the devices, taking turns: those that behave stand before those that do not.
#[derive(Debug)]
pub struct DeviceGroupSpec {
    members: Vec<DemoDevice>,
    good: usize,
    turn: u64,
}

/// What the broker's access rules should say to the messages of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It publishes on its own topics, and may.
    Own,
    /// The registry has none of its kind that may publish: the broker may refuse it, or leave that to Sluice.
    Unclear,
    /// It publishes on the topics of another device, and may not.
    Foreign,
}

#[derive(Debug)]
struct DemoDevice {
    device: String,
    site: &'static str,
    nature: DeviceBehaviour,
    dice: FleetRng,
    seq: u64,
}

#[derive(Debug)]
enum DeviceBehaviour {
    /// Temperature and humidity, drifting.
    Climate { temperature: f64, humidity: f64 },
    /// A meter that only counts up.
    Meter { watt_hours: f64 },
    /// A door that somebody opens and closes.
    Door { open: bool },
    /// One that misbehaves.
    Faulty(DeviceFault),
}

/// A small generator of random numbers (splitmix64): a simulation needs no better one.
#[derive(Clone, Debug)]
struct FleetRng(u64);

// === impl Fleet ===

impl DemoFleet {
    /// Makes it up.
    pub fn new(make_up: DemoFleetSpec) -> Self {
        let faults = DeviceFault::all(make_up)
            .into_iter()
            .map(|fault| (fault.name().to_owned(), DeviceBehaviour::Faulty(fault)));
        let climate = || DeviceBehaviour::Climate { temperature: 21.0, humidity: 45.0 };
        let good = (0..make_up.devices).map(|number| match number % 3 {
            0 => (format!("climate-{number}"), climate()),
            1 => (format!("meter-{number}"), DeviceBehaviour::Meter { watt_hours: 0.0 }),
            _ => (format!("door-{number}"), DeviceBehaviour::Door { open: false }),
        });
        let members = good.chain(faults).enumerate();
        let members =
            members.map(|(number, (device, nature))| DemoDevice::new(device, nature, number as u64)).collect();
        Self { members, doomed: DemoDevice::new(DOOMED.to_owned(), climate(), u64::MAX) }
    }

    /// Those the registry should know. A token's hash is of bytes that nobody has: no token ever fits.
    pub fn registrations(&self, nobodys: [u8; 32]) -> Vec<DeviceToEnroll> {
        let known = self.all().filter(|member| !member.is(&DeviceFault::Unregistered));
        let registration = |member: &DemoDevice| DeviceToEnroll {
            tenant: TENANT.to_owned(),
            device: member.device.clone(),
            site: member.site,
            status: if member.is(&DeviceFault::Revoked) { DeviceStatus::Revoked } else { DeviceStatus::Active },
            token: member
                .fault()
                .is_some_and(DeviceFault::has_token)
                .then(|| TokenHash(Sha256::digest(nobodys).into())),
            certificate: false,
        };
        known.map(registration).collect()
    }

    /// The names of all, and whether the registry knows no certificate of it.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.all().map(|member| (member.device.as_str(), member.fault().is_some_and(DeviceFault::is_stray)))
    }

    /// How many misbehave.
    pub fn faulty(&self) -> usize {
        self.members.iter().filter(|member| member.fault().is_some()).count()
    }

    /// Deals the devices out; the doomed one is alone, in the last squad.
    pub fn into_squads(self, squads: usize) -> Vec<DeviceGroupSpec> {
        let mut dealt: Vec<_> =
            (0..squads).map(|_| DeviceGroupSpec { members: Vec::new(), good: 0, turn: 0 }).collect();
        let (faulty, good): (Vec<_>, Vec<_>) = self.members.into_iter().partition(|member| member.fault().is_some());
        for (number, member) in good.into_iter().enumerate() {
            dealt[number % squads].members.push(member);
            dealt[number % squads].good += 1;
        }
        for (number, member) in faulty.into_iter().enumerate() {
            dealt[number % squads].members.push(member);
        }
        dealt.push(DeviceGroupSpec { members: vec![self.doomed], good: 1, turn: 0 });
        dealt
    }

    fn all(&self) -> impl Iterator<Item = &DemoDevice> {
        self.members.iter().chain([&self.doomed])
    }
}

// === impl Squad ===

impl DeviceGroupSpec {
    /// The names of its devices, by their places.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.device.as_str())
    }

    /// What the broker's access rules should say to each, by their places.
    pub fn rights(&self) -> impl Iterator<Item = Rights> {
        self.members.iter().map(|member| member.fault().map_or(Rights::Own, DeviceFault::rights))
    }

    /// The message of the device whose turn it is; none when the squad has no device.
    pub fn next(&mut self, now: Timestamp) -> Option<DemoPublish> {
        self.turn += 1;
        if self.turn.is_multiple_of(FAULT_EVERY) {
            let patient: Vec<_> = self.faulty().filter(|place| self.members[*place].outburst() == 0).collect();
            if let Some(place) = place_of(self.turn / FAULT_EVERY, patient.len()) {
                return Some(self.speak(patient[place], now));
            }
        }
        place_of(self.turn, self.good).map(|place| self.speak(place, now))
    }

    /// Everything that the hasty devices of the squad have to say, at once.
    pub fn outbursts(&mut self, now: Timestamp) -> Vec<DemoPublish> {
        let hasty = self.faulty().flat_map(|place| std::iter::repeat_n(place, self.members[place].outburst()));
        hasty.collect::<Vec<_>>().into_iter().map(|place| self.speak(place, now)).collect()
    }

    fn faulty(&self) -> Range<usize> {
        self.good..self.members.len()
    }

    fn speak(&mut self, by: usize, now: Timestamp) -> DemoPublish {
        DemoPublish { by, message: self.members[by].speak(now) }
    }
}

// === impl Member ===

impl DemoDevice {
    fn new(device: String, nature: DeviceBehaviour, number: u64) -> Self {
        // By its name: a fleet of another size finds the device where it was registered.
        let site = SITES[device.bytes().map(usize::from).sum::<usize>() % SITES.len()];
        Self { device, site, nature, dice: FleetRng(number), seq: 0 }
    }

    fn fault(&self) -> Option<&DeviceFault> {
        match &self.nature {
            DeviceBehaviour::Faulty(fault) => Some(fault),
            _ => None,
        }
    }

    fn is(&self, fault: &DeviceFault) -> bool {
        self.fault() == Some(fault)
    }

    /// How much it says at once when it is its time; 0 for those that speak in turn.
    fn outburst(&self) -> usize {
        match self.nature {
            DeviceBehaviour::Faulty(DeviceFault::Hasty(messages)) => messages,
            _ => 0,
        }
    }

    fn speak(&mut self, now: Timestamp) -> DemoMessage {
        if let DeviceBehaviour::Faulty(DeviceFault::Repeats(repeat)) = &mut self.nature
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
        match &mut self.nature {
            DeviceBehaviour::Faulty(fault) => fault.spoil(topic, fields),
            _ => message(topic, fields),
        }
    }

    /// What it has to say, and as which type of message.
    fn measure(&mut self) -> (&'static str, Value) {
        if self.seq.is_multiple_of(HEARTBEAT_EVERY) {
            return (
                "heartbeat",
                json!({ "uptime_s": self.seq, "rssi_dbm": rounded(self.dice.between(-90.0, -40.0)) }),
            );
        }
        let dice = &mut self.dice;
        match &mut self.nature {
            DeviceBehaviour::Climate { temperature, humidity } => {
                *temperature = (*temperature + dice.between(-0.2, 0.2)).clamp(-20.0, 45.0);
                *humidity = (*humidity + dice.between(-0.5, 0.5)).clamp(5.0, 95.0);
                let metrics = json!({ "temperature_c": rounded(*temperature), "humidity_pct": rounded(*humidity) });
                ("telemetry", metrics)
            }
            DeviceBehaviour::Meter { watt_hours } => {
                let watts = dice.between(80.0, 2400.0);
                *watt_hours += watts / 360.0;
                ("telemetry/power", json!({ "power_w": rounded(watts), "energy_wh": rounded(*watt_hours) }))
            }
            DeviceBehaviour::Door { open } => {
                *open = !*open;
                ("event", json!({ "door": if *open { "opened" } else { "closed" } }))
            }
            DeviceBehaviour::Faulty(_) => ("telemetry", json!({ "temperature_c": rounded(dice.between(15.0, 25.0)) })),
        }
    }
}

// === impl Dice ===

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

/// A message of these fields.
pub(super) fn message(topic: String, fields: Map<String, Value>) -> DemoMessage {
    DemoMessage { topic, payload: Value::Object(fields).to_string().into() }
}

/// Whose turn it is among so many; none when there are none.
fn place_of(turn: u64, count: usize) -> Option<usize> {
    usize::try_from(turn.checked_rem(count as u64)?).ok()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> DemoFleet {
        DemoFleet::new(DemoFleetSpec { devices: 8, oversize: 20_000, outburst: Some(7) })
    }

    #[test]
    fn every_device_has_a_turn_and_no_two_messages_are_the_same_but_those_said_twice() {
        let mut squads = fleet().into_squads(3);
        let now = Timestamp::from_micros(1_000_000);
        let mut messages = Vec::new();
        let mut spoke = Vec::new();
        for squad in &mut squads {
            let said: Vec<_> = (0..1000).filter_map(|_| squad.next(now)).collect();
            let names: Vec<_> = squad.names().map(str::to_owned).collect();
            spoke.extend(said.iter().map(|said| names[said.by].clone()));
            messages.extend(said.into_iter().map(|said| said.message));
        }
        for (name, _) in fleet().names() {
            assert_eq!(spoke.iter().any(|one| one == name), name != "hasty", "{name}");
        }
        messages.retain(|message| !["says-it-twice", "speaks-csv"].iter().any(|name| message.topic.contains(name)));
        let before = messages.len();
        messages.sort_by(|one, other| (&one.topic, &one.payload).cmp(&(&other.topic, &other.payload)));
        messages.dedup();
        assert_eq!(messages.len(), before);
        let outbursts: usize = squads.iter_mut().map(|squad| squad.outbursts(now).len()).sum();
        assert_eq!(outbursts, 7);
    }

    #[test]
    fn the_registry_learns_of_all_but_the_unregistered() {
        let fleet = fleet();
        let registrations = fleet.registrations([1; 32]);
        assert_eq!(registrations.len(), 8 + fleet.faulty() - 1 + 1);
        assert!(registrations.iter().all(|registration| registration.device != "unregistered"));
        let revoked = registrations.iter().filter(|registration| registration.status == DeviceStatus::Revoked);
        assert_eq!(revoked.count(), 1);
        assert_eq!(fleet.names().filter(|(_, is_stray)| *is_stray).count(), 4);
    }

    #[test]
    fn every_device_but_the_impostor_speaks_in_its_own_name() {
        let now = Timestamp::from_micros(1_000_000);
        for squad in &mut fleet().into_squads(2) {
            let names: Vec<_> = squad.names().map(str::to_owned).collect();
            let rights: Vec<_> = squad.rights().collect();
            for said in (0..1000).filter_map(|_| squad.next(now)).collect::<Vec<_>>() {
                let own = said.message.topic.starts_with(&format!("tenant/{TENANT}/device/{}/", names[said.by]));
                assert_eq!(own, names[said.by] != "impostor", "{}", said.message.topic);
                assert_eq!(own, rights[said.by] != Rights::Foreign, "{}", said.message.topic);
            }
        }
    }
}
