//! What one transaction stores: accepted rows, refused rows, counts, and the acknowledgements due
//! with its commit.
//!
//! It authorizes no message and writes no row.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use super::ids::DeviceKey;
use super::link::{Forward, LinkName, LinkOutcome};
use super::message::{CommandAck, Delivery, Reading, ShadowReport};
use super::publisher::ProvenPublisher;
use super::quarantine_sampling::{RefusalCount, Sampler, SharedSampler};
use super::redact::redact;
use super::refusal::{Reason, Refusal};
use super::time::Timestamp;
use super::token::TokenHash;
use super::topic::Owned;

/// One refused message, as a row of `quarantine_events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// When it was received.
    pub received_at: Timestamp,
    /// The message's `ts`, if it could be read.
    pub event_time: Option<Timestamp>,
    /// The topic; bytes that are not UTF-8 are replaced.
    pub topic: String,
    /// The topic's tenant, if the topic could be read.
    pub tenant: Option<Box<str>>,
    /// The topic's device, if the topic could be read.
    pub device: Option<Box<str>>,
    /// The payload's site, if it could be read.
    pub site: Option<Box<str>>,
    /// The topic's path after the device, if the topic could be read.
    pub msg_type: Option<Box<str>>,
    /// Why.
    pub refusal: Refusal,
    /// The kept part of the payload, without its token.
    pub payload: Bytes,
    /// SHA-256 of its token, for a replay.
    pub token: Option<TokenHash>,
    /// Hash that identifies the message.
    pub message_id: Uuid,
    /// The link that it came from; `None`: the local broker.
    pub link: Option<LinkName>,
    /// The identity that is proven to have published it.
    pub publisher: Option<Box<str>>,
    /// The first half of the fingerprint of the publisher's certificate, in hexadecimal digits.
    pub publisher_certificate: Option<Box<str>>,
}

/// A refused message that is marked DUP and has a `ts`: an earlier transaction may have decided it.
/// Until that is known it is neither counted nor kept.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// Why it is refused now.
    pub refusal: Refusal,
    /// Fields that were read before the refusal.
    pub fields: RejectedFields,
}

/// A message that an earlier transaction may have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Index of its delivery in the batch.
    pub origin: usize,
    /// The hash that identifies it.
    pub message_id: Uuid,
    /// Its own time.
    pub time: Timestamp,
    /// Whether it is refused now; else it is accepted.
    pub is_refused: bool,
}

/// Messages that earlier transactions decided, by `message_id`.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// Refused: in quarantine, or only counted.
    pub refused: HashSet<Uuid>,
    /// Accepted: in telemetry.
    pub stored: HashSet<Uuid>,
}

/// Fields of a refused message that were read before the refusal.
#[derive(Clone, Debug, Default)]
pub struct RejectedFields {
    /// The device's own time.
    pub event_time: Option<Timestamp>,
    /// The payload's site.
    pub site: Option<Box<str>>,
    /// The hash of its token.
    pub token: Option<TokenHash>,
}

/// When a device last sent an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// Which device.
    pub device: DeviceKey,
    /// When its last message was accepted.
    pub last_seen: Timestamp,
    /// When its last telemetry row was accepted.
    pub last_telemetry: Option<Timestamp>,
}

/// The contents of one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Every message of the batch in order of arrival; rows refer to theirs by index.
    pub deliveries: Vec<Delivery>,
    /// Rows for `telemetry`.
    pub readings: Vec<Reading>,
    /// Rows for `device_state`.
    pub shadows: Vec<ShadowReport>,
    /// Rows of `device_commands` to acknowledge.
    pub command_acks: Vec<CommandAck>,
    /// Rows for `quarantine_events`.
    pub quarantined: Vec<Quarantined>,
    /// Refused messages that an earlier transaction may have decided.
    pub suspects: Vec<Suspect>,
    /// `message_id` of refused messages with a `ts` that are only counted.
    pub unkept: Vec<Uuid>,
    /// Sums for `quarantine_counters_minute`; exact also where events were sampled.
    pub refusal_counts: Vec<RefusalCount>,
    /// Hash of the token that authenticated a message, by index of its delivery, in order.
    pub tokens: Vec<(usize, TokenHash)>,
    /// Devices whose `device_state` is due, sorted by device.
    pub sightings: Vec<LastSeen>,
    /// Accepted messages that links forward. Those of messages that are not stored, or were stored
    /// before, are not written.
    pub forwards: Vec<Forward>,
    /// The messages from links, and what becomes of each.
    pub from_links: Vec<(LinkName, LinkOutcome)>,
    /// The refused messages, also those that are only counted: index of the delivery and why.
    /// `None`: no task reads them.
    pub refused: Option<Vec<(usize, Refusal)>>,
    /// Decides which of the messages that only the database refuses are kept.
    pub sampler: SharedSampler,
    /// Its decisions, by index of the delivery: number of bytes to keep. Each is made once, however
    /// often the batch is retried.
    pub sampled: HashMap<usize, Option<usize>>,
    /// Number of refused messages that are only counted, because of a flood.
    pub sampled_out: u64,
    /// Number of messages that the platform itself published.
    pub ignored: u64,
    /// Number of messages that are known to be stored.
    pub known_duplicates: u64,
    /// Whether any message may have been stored before.
    pub maybe_repeated: bool,
    /// Replayed messages that the database refused: index of the delivery and why. They stay in
    /// quarantine and are not recorded again.
    pub refused_again: Vec<(usize, String)>,
}

/// Result of a committed batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// New rows in `telemetry`, and shadows and command acknowledgements that took effect.
    pub stored: u64,
    /// Rows that existed already.
    pub duplicates: u64,
    /// Rows the database refused; each is in the batch's `quarantined` now.
    pub rejected: u64,
}

// === impl Quarantined ===

impl Quarantined {
    /// Builds the record of a refusal. Cuts the payload to `bytes`, states that in the detail, and
    /// removes the token; the only constructor.
    pub fn new(
        delivery: &Delivery,
        refusal: Refusal,
        fields: RejectedFields,
        bytes: usize,
    ) -> Self {
        let RejectedFields { event_time, site, token } = fields;
        let whole = delivery.cut_from.unwrap_or(delivery.payload.len());
        let kept = delivery.payload.slice(..delivery.payload.len().min(bytes));
        let mut refusal = refusal;
        if kept.len() < whole {
            refusal.detail =
                format!("{}; the first {} of {whole} bytes are kept", refusal.detail, kept.len())
                    .into();
        }
        let topic = Owned::parse(&delivery.topic).ok();
        let topic = topic.filter(|_| delivery.has_local_topic(refusal.reason));
        let own = |text: &str| Box::<str>::from(text);
        let proven = delivery.publisher.proven();
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
            link: delivery.link().cloned(),
            publisher: proven.map(|proven| own(proven.identity())),
            publisher_certificate: proven
                .and_then(ProvenPublisher::fingerprint_text)
                .map(Into::into),
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Moves messages from the accepted to the refused ones. `refused` holds the index of each
    /// delivery and the database's reason.
    pub fn reject(&mut self, refused: &[(usize, String)]) {
        let shared = self.sampler.clone();
        let mut sampler = shared.lock();
        for (origin, detail) in refused {
            self.record_rejection(*origin, &detail.replace('\0', "\u{fffd}"), &mut sampler);
        }
        drop(sampler);
        let mut is_removed = vec![false; self.deliveries.len()];
        for (origin, _) in refused {
            is_removed[*origin] = true;
        }
        self.remove(&is_removed);
    }

    fn record_rejection(&mut self, origin: usize, detail: &str, sampler: &mut Sampler) {
        if self.deliveries[origin].replay.is_some() {
            return self.refused_again.push((origin, detail.to_owned()));
        }
        let fields = self.rejected_fields(origin);
        self.record(
            origin,
            Refusal::new(Reason::StoreRejected, detail.to_owned()),
            fields,
            sampler,
        );
    }

    fn record(
        &mut self,
        origin: usize,
        refusal: Refusal,
        fields: RejectedFields,
        sampler: &mut Sampler,
    ) {
        if self.deliveries[origin].arrival.is_none() {
            self.list_refusal(origin, &refusal);
        }
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
        let kept = self
            .sampled
            .entry(origin)
            .or_insert_with(|| sampler.admit_counted(tenant, reason, size));
        if let Some(bytes) = *kept {
            self.quarantined.push(Quarantined::new(delivery, refusal, fields, bytes));
        } else {
            self.sampled_out += 1;
            self.unkept.extend(fields.event_time.map(|_| delivery.message_id()));
        }
    }

    /// Adds a message to the list of refused ones, if there is one.
    pub fn list_refusal(&mut self, origin: usize, refusal: &Refusal) {
        if let Some(refused) = &mut self.refused {
            refused.push((origin, refusal.clone()));
        }
    }

    /// The accepted readings of events with an identity of their own.
    pub fn events(&self) -> impl Iterator<Item = &Reading> {
        self.readings
            .iter()
            .filter(|row| row.link.is_some() && self.deliveries[row.origin].is_event())
    }

    /// Removes the readings of events that are stored, and of two with one identity the second.
    pub fn settle_events(&mut self, stored: &HashSet<(DeviceKey, Uuid)>) {
        let mut seen: HashSet<(DeviceKey, Uuid)> = HashSet::new();
        let mut is_removed = vec![false; self.deliveries.len()];
        for row in self.events() {
            let event = (row.device.clone(), row.message_id);
            is_removed[row.origin] = stored.contains(&event) || !seen.insert(event);
        }
        self.known_duplicates += is_removed.iter().filter(|removed| **removed).count() as u64;
        self.remove(&is_removed);
    }

    /// Messages that are marked DUP and have a `ts`.
    pub fn repeats(&self) -> Vec<Repeat> {
        // A message without `ts` has the time of its receipt.
        let own_time = |row: &Reading| Some(row.time).filter(|time| *time != row.received_at);
        let readings = self.readings.iter().map(|row| (row.origin, own_time(row)));
        let shadows = self.shadows.iter().map(|row| (row.origin, row.time));
        let acks = self.command_acks.iter().map(|row| (row.origin, row.time));
        let accepted =
            readings.chain(shadows).chain(acks).map(|(origin, time)| (origin, time, false));
        let refused = self.suspects.iter().map(|row| (row.origin, row.fields.event_time, true));
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

    /// Removes messages that were decided before, and records the refusals that are new.
    pub fn settle(&mut self, decided: &Decided) {
        let timed = self
            .quarantined
            .iter()
            .filter(|row| row.event_time.is_some())
            .map(|row| row.message_id);
        let mut refused: HashSet<Uuid> = timed.chain(self.unkept.iter().copied()).collect();
        let mut is_removed = vec![false; self.deliveries.len()];
        for repeat in self.repeats().into_iter().filter(|repeat| !repeat.is_refused) {
            if decided.refused.contains(&repeat.message_id) || refused.contains(&repeat.message_id)
            {
                is_removed[repeat.origin] = true;
                self.known_duplicates += 1;
            }
        }
        self.remove(&is_removed);
        refused.extend(self.readings.iter().map(|row| row.message_id));
        let shared = self.sampler.clone();
        let mut sampler = shared.lock();
        for Suspect { origin, refusal, fields } in std::mem::take(&mut self.suspects) {
            let name = self.deliveries[origin].message_id();
            if decided.refused.contains(&name)
                || decided.stored.contains(&name)
                || !refused.insert(name)
            {
                self.known_duplicates += 1;
            } else {
                self.record(origin, refusal, fields, &mut sampler);
            }
        }
    }

    fn remove(&mut self, is_removed: &[bool]) {
        self.readings.retain(|row| !is_removed[row.origin]);
        self.shadows.retain(|row| !is_removed[row.origin]);
        self.command_acks.retain(|row| !is_removed[row.origin]);
        self.forwards.retain(|row| !is_removed[row.origin]);
    }

    /// Fields of an accepted message. Rows and tokens are in the order of the deliveries.
    fn rejected_fields(&self, origin: usize) -> RejectedFields {
        let place = self.readings.binary_search_by_key(&origin, |row| row.origin).ok();
        let reading = place.map(|place| &self.readings[place]);
        let ack = self.command_acks.binary_search_by_key(&origin, |row| row.origin).ok();
        let shadow = self.shadows.binary_search_by_key(&origin, |row| row.origin).ok();
        // A message without `ts` has the time of its receipt.
        let time =
            reading.map(|row| row.time).filter(|time| *time != self.deliveries[origin].received_at);
        let time = time.or_else(|| ack.and_then(|place| self.command_acks[place].time));
        let time = time.or_else(|| shadow.and_then(|place| self.shadows[place].time));
        let token = self.tokens.binary_search_by_key(&origin, |(index, _)| *index).ok();
        RejectedFields {
            event_time: time,
            site: reading
                .and_then(|row| row.site.as_ref())
                .map(|site| String::from_utf8_lossy(site.as_bytes()).into()),
            token: token.map(|place| self.tokens[place].1),
        }
    }
}
