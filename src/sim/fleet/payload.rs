//! Payloads of simulated devices: encoded once for each device, then only digits are patched in
//! place.
//!
//! Every varying value has a fixed width, so offsets stay valid. It knows no connection and no
//! registry.

use serde_json::{Map, Value, json};

use super::payload_profile::{PayloadProfile, PayloadRng, write_decimal};
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::Packet;
use crate::domain::refusal::Reason;
use crate::domain::time::{MICROS_PER_SECOND, Timestamp};

/// Digits of a sequence number; all numbers of a run have this width.
const SEQ_DIGITS: usize = 19;

/// `2026-11-21T04:57:29.123456Z`.
const TS_LEN: usize = 27;

/// The device whose payload is written, and its fault.
#[derive(Clone, Debug)]
pub struct PayloadWriter<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// The device in its topic.
    pub device: &'a str,
    /// Its site.
    pub site: &'a str,
    /// Its token; `None` sends none.
    pub token: Option<String>,
    /// What it measures.
    pub profile: PayloadProfile,
    /// Its fault; `None` for a good device.
    pub fault: Option<Reason>,
    /// Largest accepted payload in bytes.
    pub largest: usize,
    /// Whether it publishes at QoS 1.
    pub at_least_once: bool,
}

/// A device's encoded message, and the offsets that change.
#[derive(Clone, Debug)]
pub struct PayloadTemplate {
    packet: Packet,
    ts: Option<u16>,
    seq: Option<u16>,
    digits: [Option<u16>; 2],
    values: [u32; 2],
    profile: PayloadProfile,
}

/// The time as text: formatted once a second, patched in between.
#[derive(Clone, Debug)]
pub struct PayloadStamp {
    second: i64,
    text: Vec<u8>,
}

// === impl PayloadWriter ===

impl PayloadWriter<'_> {
    /// Encodes the message and finds the offsets that change.
    pub fn template(&self, now: Timestamp) -> Result<PayloadTemplate, BrokerError> {
        let (topic, payload) = (self.topic(), self.payload(now));
        let place = |key: &str| {
            let found = payload.find(&format!("\"{key}\":"))?;
            u16::try_from(found + key.len() + 3).ok()
        };
        let moving =
            !matches!(self.fault, Some(Reason::BadTimestamp | Reason::TimestampOutOfRange));
        let [one, other] = self.profile.digits();
        Ok(PayloadTemplate {
            packet: Packet::new(&topic, payload.as_bytes(), self.at_least_once)?,
            // Skips the quotation mark.
            ts: place("ts").filter(|_| moving).map(|at| at + 1),
            seq: place("seq"),
            digits: [place(one.name()), place(other.name())],
            values: [one.start(), other.start()],
            profile: self.profile,
        })
    }

    fn topic(&self) -> String {
        // The broker's access rules allow a device levels below `telemetry`, and below no other type.
        let own = match self.fault {
            Some(Reason::BadTopicFormat) => "telemetry//x",
            _ => self.profile.msg_type(),
        };
        format!("tenant/{}/device/{}/{own}", self.tenant, self.device)
    }

    fn payload(&self, now: Timestamp) -> String {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| drop(fields.insert(name.into(), value));
        set("ts", json!(now.to_string()));
        set("seq", json!(10_u64.pow(18)));
        set("site_id", json!(self.site));
        if let Some(token) = &self.token {
            set("provision_token", json!(token));
        }
        set("metrics", Value::Object(self.profile.metrics()));
        match self.fault {
            Some(Reason::PayloadTooLarge) => {
                set("metrics", json!({ "noise": "x".repeat(self.largest) }));
            }
            Some(Reason::BadPayload) => set("metrics", json!("none")),
            Some(Reason::UnsupportedVersion) => set("version", json!("9")),
            Some(Reason::TenantMismatch) => set("tenant_id", json!("another")),
            Some(Reason::DeviceMismatch) => set("device_id", json!("another")),
            Some(Reason::BadTimestamp) => set("ts", json!("yesterday, around noon")),
            Some(Reason::TimestampOutOfRange) => set("ts", json!("2001-01-01T00:00:00Z")),
            Some(Reason::SiteMismatch) => set("site_id", json!("elsewhere")),
            Some(Reason::StoreRejected) => set("metrics", json!({ "label": "a\0b" })),
            _ => {}
        }
        Value::Object(fields).to_string()
    }
}

// === impl PayloadTemplate ===

impl PayloadTemplate {
    /// The last packet once more.
    pub fn repeat(&mut self) -> &mut Packet {
        &mut self.packet
    }

    /// Patches number, time and values into the packet and returns it.
    pub fn render(&mut self, stamp: &PayloadStamp, seq: i64, rng: &mut PayloadRng) -> &mut Packet {
        let payload = self.packet.payload_mut();
        if let Some(at) = self.ts {
            payload[at.into()..][..TS_LEN].copy_from_slice(&stamp.text);
        }
        if let Some(at) = self.seq {
            write_decimal(&mut payload[at.into()..][..SEQ_DIGITS], seq.unsigned_abs(), 0);
        }
        for ((digit, value), place) in
            self.profile.digits().iter().zip(&mut self.values).zip(self.digits)
        {
            if let Some(at) = place {
                digit.advance(value, rng, &mut payload[at.into()..]);
            }
        }
        &mut self.packet
    }
}

// === impl PayloadStamp ===

impl PayloadStamp {
    /// Formats `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            second: now.micros().div_euclid(MICROS_PER_SECOND),
            text: now.to_string().into_bytes(),
        }
    }

    /// Updates the text to `now`.
    pub fn set(&mut self, now: Timestamp) {
        let second = now.micros().div_euclid(MICROS_PER_SECOND);
        if second != self.second {
            *self = Self::new(now);
            return;
        }
        let micros = now.micros().rem_euclid(MICROS_PER_SECOND).unsigned_abs();
        write_decimal(&mut self.text[TS_LEN - 7..TS_LEN - 1], micros, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_007);

    fn payload_writer(profile: PayloadProfile, fault: Option<Reason>) -> PayloadWriter<'static> {
        let token = Some("0123456789abcdef".into());
        let (tenant, device, site) = ("sim-00", "d-000001", "north");
        PayloadWriter {
            tenant,
            device,
            site,
            token,
            profile,
            fault,
            largest: 500,
            at_least_once: true,
        }
    }

    #[test]
    fn every_message_is_json_with_its_number_its_time_and_figures_within_bounds() {
        let (mut stamp, mut rng) = (PayloadStamp::new(NOW), PayloadRng::new(1));
        for profile in PayloadProfile::ALL.into_iter().chain([PayloadProfile::Heartbeat]) {
            let mut template = payload_writer(profile, None).template(NOW).unwrap();
            let mut lengths = Vec::new();
            for number in 0..5_000 {
                let now = Timestamp::from_micros(NOW.micros() + number * 1_003);
                stamp.set(now);
                let seq = 1_790_000_000_000_000_000 + number;
                let payload = template.render(&stamp, seq, &mut rng).payload_mut().to_vec();
                let message: Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!(
                    (message["seq"].as_i64(), message["ts"].as_str()),
                    (Some(seq), Some(now.to_string().as_str()))
                );
                if let Some(temperature) = message["metrics"]["temperature_c"].as_f64() {
                    assert!((10.0..=45.0).contains(&temperature), "{temperature}");
                }
                lengths.push(payload.len());
            }
            lengths.dedup();
            assert_eq!(lengths.len(), 1, "nothing moves");
        }
    }

    #[test]
    fn every_fault_is_a_message_that_can_be_patched() {
        let (stamp, mut rng) = (PayloadStamp::new(NOW), PayloadRng::new(1));
        for fault in Reason::ALL {
            let mut template =
                payload_writer(PayloadProfile::Door, Some(fault)).template(NOW).unwrap();
            let payload =
                template.render(&stamp, 1_790_000_000_000_000_000, &mut rng).payload_mut();
            let message: Value = serde_json::from_slice(payload).unwrap();
            assert_eq!(message["seq"], 1_790_000_000_000_000_000_i64, "{fault}");
        }
    }
}
