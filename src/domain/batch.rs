//! What one transaction stores: accepted rows, refused rows, counts, and the acknowledgements that become due with its commit.
//!
//! It knows neither how a message was judged nor how a row is written.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use super::device::TokenHash;
use super::ids::DeviceKey;
use super::message::{CommandAck, Delivery, Reading, ShadowReport};
use super::quarantine_sampling::{Sampler, SharedSampler};
use super::redact::redact;
use super::refusal::{Reason, Refusal};
use super::time::Timestamp;
use super::topic::Owned;

/// One refused message, as a row of `quarantine_events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// When it was received.
    pub received_at: Timestamp,
    /// The device's own time, when it could be read.
    pub event_time: Option<Timestamp>,
    /// The topic; bytes that are not UTF-8 are replaced.
    pub topic: String,
    /// The topic's tenant, when the topic could be read.
    pub tenant: Option<Box<str>>,
    /// The topic's device, when the topic could be read.
    pub device: Option<Box<str>>,
    /// The payload's site, when it could be read.
    pub site: Option<Box<str>>,
    /// The topic's path after the device, when the topic could be read.
    pub msg_type: Option<Box<str>>,
    /// Why.
    pub refusal: Refusal,
    /// The payload with its token cut out, as much of it as is kept.
    pub payload: Bytes,
    /// SHA-256 of the token it carried, so that a replay can be verified.
    pub token: Option<TokenHash>,
    /// The name of the message.
    pub message_id: Uuid,
}

/// A refused message that the broker marks as repeated, and that its own time tells from all others: it may have been decided
/// before. Until that is known it is neither counted nor kept.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Why it is refused now.
    pub refusal: Refusal,
    /// What it told.
    pub told: RejectedFields,
}

/// A message that may have been decided before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Its name.
    pub message_id: Uuid,
    /// Its own time.
    pub time: Timestamp,
    /// It is refused now; else accepted.
    pub is_refused: bool,
}

/// What is known of messages decided before, by name.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// In quarantine, or counted there.
    pub refused: HashSet<Uuid>,
    /// In telemetry.
    pub stored: HashSet<Uuid>,
}

/// What a refused message told about itself before it was refused.
#[derive(Clone, Debug, Default)]
pub struct RejectedFields {
    /// The device's own time.
    pub event_time: Option<Timestamp>,
    /// The payload's site.
    pub site: Option<Box<str>>,
    /// The hash of the token it carried.
    pub token: Option<TokenHash>,
}

/// A count of refused messages of one minute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalCount {
    /// The minute, at its start.
    pub minute: Timestamp,
    /// The tenant, or a stand-in when there is none to name.
    pub tenant: Box<str>,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: i64,
}

/// When a device was last heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// Which device.
    pub device: DeviceKey,
    /// When a message of it was last accepted.
    pub last_seen: Timestamp,
    /// When a telemetry row of it was last accepted.
    pub last_telemetry: Option<Timestamp>,
}

/// One transaction's worth.
#[derive(Debug, Default)]
pub struct Batch {
    /// Every message of the batch in order of arrival; rows name theirs by index.
    pub deliveries: Vec<Delivery>,
    /// Rows for `telemetry`.
    pub readings: Vec<Reading>,
    /// Rows for `device_state`.
    pub shadows: Vec<ShadowReport>,
    /// Rows of `device_commands` to acknowledge.
    pub command_acks: Vec<CommandAck>,
    /// Rows for `quarantine_events`.
    pub quarantined: Vec<Quarantined>,
    /// Refused messages that may have been decided before.
    pub suspects: Vec<Suspect>,
    /// Names of refused messages that carry a time and are counted only.
    pub unkept: Vec<Uuid>,
    /// Sums for `quarantine_counters_minute`; exact also where events were sampled.
    pub refusal_counts: Vec<RefusalCount>,
    /// The hash of the token each message was believed by, for those that were; by index of the delivery, in order.
    pub tokens: Vec<(usize, TokenHash)>,
    /// Devices whose `device_state` is due, sorted by device.
    pub sightings: Vec<LastSeen>,
    /// Decides which messages are kept that only the database refuses.
    pub sampler: SharedSampler,
    /// What it decided, by index of the delivery: how many bytes are kept. It is asked once for each, however often the batch
    /// is tried.
    pub sampled: HashMap<usize, Option<usize>>,
    /// How many refused messages are counted only, because their kind floods.
    pub sampled_out: u64,
    /// How many of its messages were the platform's own voice.
    pub ignored: u64,
    /// How many of its messages were known to be stored already.
    pub known_duplicates: u64,
    /// Some of its messages may have been stored before.
    pub maybe_repeated: bool,
    /// Why the database would not take messages that came from quarantine; they stay there and are not recorded anew.
    pub refused_again: Vec<String>,
}

/// What came of a committed batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// New rows in `telemetry`, and shadows and command acknowledgements that took effect.
    pub stored: u64,
    /// Rows that were there already.
    pub duplicates: u64,
    /// Rows the database would not take; each is in the batch's `quarantined` now.
    pub rejected: u64,
}

// === impl Quarantined ===

impl Quarantined {
    /// The record of a refusal. The payload is cut to so many bytes, which its detail says, and its token is taken out; this
    /// is the only way to make one.
    pub fn new(delivery: &Delivery, refusal: Refusal, told: RejectedFields, bytes: usize) -> Self {
        let RejectedFields { event_time, site, token } = told;
        let whole = delivery.cut_from.unwrap_or(delivery.payload.len());
        let kept = delivery.payload.slice(..delivery.payload.len().min(bytes));
        let mut refusal = refusal;
        if kept.len() < whole {
            refusal.detail = format!("{}; the first {} of {whole} bytes are kept", refusal.detail, kept.len()).into();
        }
        let topic = Owned::parse(&delivery.topic).ok();
        let own = |text: &str| Box::<str>::from(text);
        Self {
            received_at: delivery.received_at,
            event_time,
            topic: String::from_utf8_lossy(&delivery.topic).replace('\0', "\u{fffd}"),
            tenant: topic.as_ref().map(|topic| own(topic.tenant)),
            device: topic.as_ref().map(|topic| own(topic.device)),
            site,
            msg_type: topic.as_ref().map(|topic| own(topic.msg_type)),
            payload: redact(&kept),
            refusal,
            token,
            message_id: delivery.message_id(),
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Takes messages of the batch out of the accepted and records why, keeping all the others. Each is named by the index
    /// of its delivery, with why the database would not take it.
    pub fn reject(&mut self, refused: &[(usize, String)]) {
        let shared = self.sampler.clone();
        let mut sampler = shared.lock();
        for (origin, detail) in refused {
            self.record_rejected(*origin, &detail.replace('\0', "\u{fffd}"), &mut sampler);
        }
        drop(sampler);
        let mut is_out = vec![false; self.deliveries.len()];
        for (origin, _) in refused {
            is_out[*origin] = true;
        }
        self.take_out(&is_out);
    }

    fn record_rejected(&mut self, origin: usize, detail: &str, sampler: &mut Sampler) {
        if self.deliveries[origin].replay.is_some() {
            return self.refused_again.push(detail.to_owned());
        }
        let told = self.told(origin);
        self.record(origin, Refusal::new(Reason::StoreRejected, detail.to_owned()), told, sampler);
    }

    fn record(&mut self, origin: usize, refusal: Refusal, told: RejectedFields, sampler: &mut Sampler) {
        let delivery = &self.deliveries[origin];
        let tenant = Owned::parse(&delivery.topic).ok().map(|topic| topic.tenant);
        let reason = refusal.reason;
        self.refusal_counts.push(RefusalCount {
            minute: delivery.received_at.minute(),
            tenant: tenant.unwrap_or_default().into(),
            reason,
            count: 1,
        });
        let size = delivery.payload.len();
        let kept = self.sampled.entry(origin).or_insert_with(|| sampler.admit_counted(tenant, reason, size));
        if let Some(bytes) = *kept {
            self.quarantined.push(Quarantined::new(delivery, refusal, told, bytes));
        } else {
            self.sampled_out += 1;
            self.unkept.extend(told.event_time.map(|_| delivery.message_id()));
        }
    }

    /// Messages that the broker marks as repeated, and that their own time tells from all others.
    pub fn repeats(&self) -> Vec<Repeat> {
        // Without a time of its own it was to be kept under that of its receipt.
        let own_time = |row: &Reading| Some(row.time).filter(|time| *time != row.received_at);
        let readings = self.readings.iter().map(|row| (row.origin, own_time(row)));
        let shadows = self.shadows.iter().map(|row| (row.origin, row.time));
        let acks = self.command_acks.iter().map(|row| (row.origin, row.time));
        let accepted = readings.chain(shadows).chain(acks).map(|(origin, time)| (origin, time, false));
        let refused = self.suspects.iter().map(|row| (row.origin, row.told.event_time, true));
        let repeat = |(origin, time, is_refused): (usize, Option<Timestamp>, bool)| {
            let delivery = &self.deliveries[origin];
            let time = time.filter(|_| delivery.dup)?;
            Some(Repeat { origin, message_id: delivery.message_id(), time, is_refused })
        };
        accepted.chain(refused).filter_map(repeat).collect()
    }

    /// The topic's tenant and device.
    pub fn sender(&self, origin: usize) -> Option<(&str, &str)> {
        Owned::parse(&self.deliveries[origin].topic).ok().map(|topic| (topic.tenant, topic.device))
    }

    /// Takes out what was decided before, and records the refusals that are new.
    pub fn settle(&mut self, decided: &Decided) {
        let timed = self.quarantined.iter().filter(|row| row.event_time.is_some()).map(|row| row.message_id);
        let mut refused: HashSet<Uuid> = timed.chain(self.unkept.iter().copied()).collect();
        let mut is_out = vec![false; self.deliveries.len()];
        for repeat in self.repeats().into_iter().filter(|repeat| !repeat.is_refused) {
            if decided.refused.contains(&repeat.message_id) || refused.contains(&repeat.message_id) {
                is_out[repeat.origin] = true;
                self.known_duplicates += 1;
            }
        }
        self.take_out(&is_out);
        refused.extend(self.readings.iter().map(|row| row.message_id));
        let shared = self.sampler.clone();
        let mut sampler = shared.lock();
        for Suspect { origin, refusal, told } in std::mem::take(&mut self.suspects) {
            let name = self.deliveries[origin].message_id();
            if decided.refused.contains(&name) || decided.stored.contains(&name) || !refused.insert(name) {
                self.known_duplicates += 1;
            } else {
                self.record(origin, refusal, told, &mut sampler);
            }
        }
    }

    fn take_out(&mut self, is_out: &[bool]) {
        self.readings.retain(|row| !is_out[row.origin]);
        self.shadows.retain(|row| !is_out[row.origin]);
        self.command_acks.retain(|row| !is_out[row.origin]);
    }

    /// What an accepted message told about itself. The rows and tokens stand in the order of the deliveries.
    fn told(&self, origin: usize) -> RejectedFields {
        let place = self.readings.binary_search_by_key(&origin, |row| row.origin).ok();
        let reading = place.map(|place| &self.readings[place]);
        let ack = self.command_acks.binary_search_by_key(&origin, |row| row.origin).ok();
        let shadow = self.shadows.binary_search_by_key(&origin, |row| row.origin).ok();
        // Without a time of its own it was to be kept under that of its receipt.
        let time = reading.map(|row| row.time).filter(|time| *time != self.deliveries[origin].received_at);
        let time = time.or_else(|| ack.and_then(|place| self.command_acks[place].time));
        let time = time.or_else(|| shadow.and_then(|place| self.shadows[place].time));
        let token = self.tokens.binary_search_by_key(&origin, |(index, _)| *index).ok();
        RejectedFields {
            event_time: time,
            site: reading.and_then(|row| row.site.as_ref()).map(|site| String::from_utf8_lossy(site.as_bytes()).into()),
            token: token.map(|place| self.tokens[place].1),
        }
    }
}
