//! A simulated fleet: sensors with random walks, meters that count, doors that open, and a few devices that misbehave.
//!
//! It knows no broker, no registry and no clock. Each fault is one that quarantine has a reason for.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::printable::hex;
use crate::domain::device::{DeviceStatus, TokenHash};
use crate::domain::time::Timestamp;

/// Whose devices they are; no tenant of anybody's own is called that.
pub const TENANT: &str = "sluice-demo";

/// Where they stand.
const SITES: [&str; 3] = ["north", "south", "harbour"];

/// One message in so many comes from a device that misbehaves.
const FAULT_EVERY: u64 = 25;

/// One message in so many of a device is a heartbeat.
const HEARTBEAT_EVERY: u64 = 30;

/// What a fleet is made of.
#[derive(Clone, Copy, Debug)]
pub struct MakeUp {
    /// Devices that behave.
    pub devices: usize,
    /// Bytes of a payload that is too large.
    pub oversize: usize,
    /// Messages of the hasty device's outburst; none: there is no hasty device.
    pub outburst: Option<usize>,
}

/// All devices.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    secret: [u8; 32],
}

/// A device as the registry should know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub device: String,
    /// Where it stands.
    pub site: &'static str,
    /// Whether it may speak.
    pub status: DeviceStatus,
    /// The hash of its token.
    pub token: TokenHash,
}

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
}

/// Some of the devices, taking turns; each squad publishes on a connection of its own.
#[derive(Debug)]
pub struct Squad {
    good: Vec<Member>,
    faulty: Vec<Member>,
    turn: u64,
}

#[derive(Debug)]
struct Member {
    device: String,
    site: &'static str,
    token: String,
    nature: Nature,
    dice: Dice,
    seq: u64,
}

#[derive(Debug)]
enum Nature {
    /// Temperature and humidity, drifting.
    Climate { temperature: f64, humidity: f64 },
    /// A meter that only counts up.
    Meter { watt_hours: f64 },
    /// A door that somebody opens and closes.
    Door { open: bool },
    /// One that misbehaves.
    Faulty(Fault),
}

/// A way to misbehave.
#[derive(Clone, Debug, PartialEq)]
enum Fault {
    WrongToken,
    NoToken,
    Unregistered,
    Revoked,
    OtherTenant,
    OtherSite,
    UnreadableTime,
    StoppedClock,
    NotJson,
    NulCharacter,
    TooLarge(usize),
    BadTopic,
    /// Says everything twice; the message it still has to repeat.
    Repeats(Option<Message>),
    /// Silent, and then far too much at once.
    Hasty(usize),
}

/// A small generator of random numbers (splitmix64): a simulation needs no better one.
#[derive(Clone, Debug)]
struct Dice(u64);

// === impl Fleet ===

impl Fleet {
    /// Makes it up. The tokens are made of `secret`: the same secret, the same tokens.
    pub fn new(make_up: MakeUp, secret: [u8; 32]) -> Self {
        let faults = Fault::all(make_up).into_iter().map(|fault| (fault.name().to_owned(), Nature::Faulty(fault)));
        let good = (0..make_up.devices).map(|number| match number % 3 {
            0 => (format!("climate-{number}"), Nature::Climate { temperature: 21.0, humidity: 45.0 }),
            1 => (format!("meter-{number}"), Nature::Meter { watt_hours: 0.0 }),
            _ => (format!("door-{number}"), Nature::Door { open: false }),
        });
        let members = good.chain(faults).enumerate().map(|(number, (device, nature))| {
            // By its name: a fleet of another size finds the device where it was registered.
            let site = SITES[device.bytes().map(usize::from).sum::<usize>() % SITES.len()];
            let token = token(&secret, &device);
            Member { device, site, token, nature, dice: Dice(number as u64), seq: 0 }
        });
        Self { members: members.collect(), secret }
    }

    /// Those the registry should know.
    pub fn registrations(&self) -> Vec<Registration> {
        let known = self.members.iter().filter(|member| !member.is(&Fault::Unregistered));
        let registration = |member: &Member| Registration {
            device: member.device.clone(),
            site: member.site,
            status: if member.is(&Fault::Revoked) { DeviceStatus::Revoked } else { DeviceStatus::Active },
            token: TokenHash(Sha256::digest(token(&self.secret, &member.device)).into()),
        };
        known.map(registration).collect()
    }

    /// How many misbehave.
    pub fn faulty(&self) -> usize {
        self.members.iter().filter(|member| member.is_faulty()).count()
    }

    /// Deals the devices out.
    pub fn into_squads(self, squads: usize) -> Vec<Squad> {
        let mut dealt: Vec<_> = (0..squads).map(|_| Squad { good: Vec::new(), faulty: Vec::new(), turn: 0 }).collect();
        let (faulty, good): (Vec<_>, Vec<_>) = self.members.into_iter().partition(Member::is_faulty);
        for (number, member) in good.into_iter().enumerate() {
            dealt[number % squads].good.push(member);
        }
        for (number, member) in faulty.into_iter().enumerate() {
            dealt[number % squads].faulty.push(member);
        }
        dealt
    }
}

// === impl Squad ===

impl Squad {
    /// The message of the device whose turn it is; none when the squad has no device.
    pub fn next(&mut self, now: Timestamp) -> Option<Message> {
        self.turn += 1;
        if self.turn.is_multiple_of(FAULT_EVERY) {
            let mut patient: Vec<_> = self.faulty.iter_mut().filter(|member| member.outburst() == 0).collect();
            if let Some(place) = place_of(self.turn / FAULT_EVERY, patient.len()) {
                return Some(patient[place].speak(now));
            }
        }
        let place = place_of(self.turn, self.good.len())?;
        Some(self.good[place].speak(now))
    }

    /// Everything that the hasty devices of the squad have to say, at once.
    pub fn outbursts(&mut self, now: Timestamp) -> Vec<Message> {
        let hasty = self.faulty.iter_mut();
        hasty.flat_map(|member| (0..member.outburst()).map(|_| member.speak(now)).collect::<Vec<_>>()).collect()
    }
}

// === impl Member ===

impl Member {
    fn is(&self, fault: &Fault) -> bool {
        matches!(&self.nature, Nature::Faulty(own) if own == fault)
    }

    fn is_faulty(&self) -> bool {
        matches!(self.nature, Nature::Faulty(_))
    }

    /// How much it says at once when it is its time; 0 for those that speak in turn.
    fn outburst(&self) -> usize {
        match self.nature {
            Nature::Faulty(Fault::Hasty(messages)) => messages,
            _ => 0,
        }
    }

    fn speak(&mut self, now: Timestamp) -> Message {
        if let Nature::Faulty(Fault::Repeats(repeat)) = &mut self.nature
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
        fields.insert("provision_token".into(), json!(self.token));
        fields.insert("metrics".into(), metrics);
        let topic = format!("tenant/{TENANT}/device/{}/{kind}", self.device);
        match &mut self.nature {
            Nature::Faulty(fault) => fault.spoil(topic, fields),
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
            Nature::Climate { temperature, humidity } => {
                *temperature = (*temperature + dice.between(-0.2, 0.2)).clamp(-20.0, 45.0);
                *humidity = (*humidity + dice.between(-0.5, 0.5)).clamp(5.0, 95.0);
                let metrics = json!({ "temperature_c": rounded(*temperature), "humidity_pct": rounded(*humidity) });
                ("telemetry", metrics)
            }
            Nature::Meter { watt_hours } => {
                let watts = dice.between(80.0, 2400.0);
                *watt_hours += watts / 360.0;
                ("telemetry/power", json!({ "power_w": rounded(watts), "energy_wh": rounded(*watt_hours) }))
            }
            Nature::Door { open } => {
                *open = !*open;
                ("event", json!({ "door": if *open { "opened" } else { "closed" } }))
            }
            Nature::Faulty(_) => ("telemetry", json!({ "temperature_c": rounded(dice.between(15.0, 25.0)) })),
        }
    }
}

// === impl Fault ===

impl Fault {
    fn all(make_up: MakeUp) -> Vec<Self> {
        let mut all = vec![
            Self::WrongToken,
            Self::NoToken,
            Self::Unregistered,
            Self::Revoked,
            Self::OtherTenant,
            Self::OtherSite,
            Self::UnreadableTime,
            Self::StoppedClock,
            Self::NotJson,
            Self::NulCharacter,
            Self::TooLarge(make_up.oversize),
            Self::BadTopic,
            Self::Repeats(None),
        ];
        all.extend(make_up.outburst.map(Self::Hasty));
        all
    }

    /// The name of the device that has it.
    fn name(&self) -> &'static str {
        match self {
            Self::WrongToken => "wrong-token",
            Self::NoToken => "no-token",
            Self::Unregistered => "unregistered",
            Self::Revoked => "revoked",
            Self::OtherTenant => "other-tenant",
            Self::OtherSite => "moved-away",
            Self::UnreadableTime => "odd-clock",
            Self::StoppedClock => "stopped-clock",
            Self::NotJson => "speaks-csv",
            Self::NulCharacter => "sends-nul",
            Self::TooLarge(_) => "talks-too-much",
            Self::BadTopic => "lost-its-name",
            Self::Repeats(_) => "says-it-twice",
            Self::Hasty(_) => "hasty",
        }
    }

    /// Turns a good message into what this device makes of it.
    fn spoil(&mut self, mut topic: String, mut fields: Map<String, Value>) -> Message {
        let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
        match self {
            Self::WrongToken => drop(set("provision_token", json!("not-the-one"))),
            Self::NoToken => drop(fields.remove("provision_token")),
            Self::OtherTenant => drop(set("tenant_id", json!("somebody-else"))),
            Self::OtherSite => drop(set("site_id", json!("elsewhere"))),
            Self::UnreadableTime => drop(set("ts", json!("yesterday, around noon"))),
            Self::StoppedClock => drop(set("ts", json!("2001-01-01T00:00:00Z"))),
            Self::NulCharacter => drop(set("metrics", json!({ "label": "a\0b" }))),
            Self::TooLarge(bytes) => drop(set("metrics", json!({ "noise": "x".repeat(*bytes) }))),
            Self::NotJson => return Message { topic, payload: "21.5;45;ok\r\n".into() },
            Self::BadTopic => topic = format!("tenant/{TENANT}/device/no name!/telemetry"),
            Self::Repeats(repeat) => {
                let message = message(topic, fields);
                *repeat = Some(message.clone());
                return message;
            }
            Self::Unregistered | Self::Revoked | Self::Hasty(_) => {}
        }
        message(topic, fields)
    }
}

// === impl Dice ===

impl Dice {
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

fn message(topic: String, fields: Map<String, Value>) -> Message {
    Message { topic, payload: Value::Object(fields).to_string().into() }
}

fn token(secret: &[u8; 32], device: &str) -> String {
    hex(&Sha256::new().chain_update(secret).chain_update(device).finalize())
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

    fn fleet() -> Fleet {
        Fleet::new(MakeUp { devices: 8, oversize: 20_000, outburst: Some(7) }, [1; 32])
    }

    #[test]
    fn every_device_has_a_turn_and_no_two_messages_are_the_same_but_those_said_twice() {
        let mut squads = fleet().into_squads(3);
        let now = Timestamp::from_micros(1_000_000);
        let mut messages: Vec<_> =
            squads.iter_mut().flat_map(|squad| (0..1000).filter_map(|_| squad.next(now)).collect::<Vec<_>>()).collect();
        for name in fleet().members.iter().map(|member| &member.device).filter(|name| *name != "lost-its-name") {
            let spoke = messages.iter().any(|message| message.topic.contains(&format!("/{name}/")));
            assert_eq!(spoke, name != "hasty", "{name}");
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
        let registrations = fleet.registrations();
        assert_eq!(registrations.len(), 8 + fleet.faulty() - 1);
        assert!(registrations.iter().all(|registration| registration.device != "unregistered"));
        let revoked = registrations.iter().filter(|registration| registration.status == DeviceStatus::Revoked);
        assert_eq!(revoked.count(), 1);
    }
}
