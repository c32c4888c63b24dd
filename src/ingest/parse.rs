//! First step of a message, from its own bytes alone: topic, size, shape, versions, names, time.
//!
//! No IO, no clock, no registry. A [`Parsed`](parsed::Parsed) shares the bytes of the packet; only a
//! token in the stored parts is removed.
//!
//! [`parsed`] is the result. [`envelope`] finds the fields of a payload, [`fields`] and [`body`] read
//! them, [`json_limits`] bounds their depth and size, [`timestamp`] reads `ts`. [`timestamp_only`]
//! reads `ts` of a message that is otherwise not read.

mod body;
pub(crate) mod envelope;
mod fields;
pub(crate) mod json_limits;
pub mod parsed;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;
pub(crate) mod timestamp_only;

use std::borrow::Cow;

use bytes::Bytes;

use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::RejectedFields;
use crate::domain::link::LinkArrival;
use crate::domain::message::Delivery;
use crate::domain::probe;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::domain::topic::{MessageKind, Topic};
use body::parse_body;
use envelope::{Envelope, EnvelopeField, Wanted};
use fields::{MAX_SITE_LEN, Spans, bad, rejected_fields, text, token};
use parsed::{ParseOutcome, Parsed};
use timestamp::AcceptedTimes;

/// Limits of a message.
#[derive(Clone, Debug)]
pub struct ParseLimits {
    max_payload_bytes: usize,
    max_json_depth: usize,
    max_metrics: usize,
    keep_extra_fields: bool,
    plausible: AcceptedTimes,
}

// === impl ParseLimits ===

impl From<&IngestConfig> for ParseLimits {
    fn from(config: &IngestConfig) -> Self {
        Self {
            max_payload_bytes: config.max_payload_bytes,
            max_json_depth: config.max_json_depth,
            max_metrics: config.max_metrics,
            keep_extra_fields: config.keep_extra_fields,
            plausible: AcceptedTimes {
                ahead_seconds: config.max_clock_skew_seconds,
                age_days: config.max_age_days,
            },
        }
    }
}

impl ParseLimits {
    /// Checks one message, in the order of [`Reason::ALL`].
    pub fn parse(&self, delivery: &Delivery) -> ParseOutcome {
        match delivery.arrival.as_deref() {
            Some(LinkArrival { is_ignored: true, .. }) => return ParseOutcome::Ignored,
            Some(LinkArrival { refusal: Some(refusal), event_time, .. }) => {
                let fields =
                    RejectedFields { event_time: *event_time, ..RejectedFields::default() };
                return ParseOutcome::Refused(refusal.clone(), fields);
            }
            _ => {}
        }
        let topic = match Topic::parse(&delivery.topic) {
            Ok(topic) => topic,
            Err(_) if probe::is_probe(&delivery.topic, &delivery.payload) => {
                return ParseOutcome::Ignored;
            }
            Err(error) => return refuse(delivery, Reason::BadTopicFormat, error.to_string()),
        };
        if topic.kind == MessageKind::Platform {
            return ParseOutcome::Ignored;
        }
        let size = delivery.cut_from.unwrap_or(delivery.payload.len());
        if size > self.max_payload_bytes || delivery.cut_from.is_some() {
            let limit = self.max_payload_bytes;
            return refuse(
                delivery,
                Reason::PayloadTooLarge,
                format!("{size} bytes; MAX_PAYLOAD_BYTES is {limit}"),
            );
        }
        let Ok(payload) = std::str::from_utf8(&delivery.payload) else {
            return refuse(delivery, Reason::BadPayload, "the payload is not UTF-8");
        };
        let wanted = Wanted {
            platform_fields: topic.kind != MessageKind::Telemetry,
            extra: self.keep_extra_fields && topic.kind == MessageKind::Telemetry,
        };
        let envelope = match envelope::read(payload, wanted) {
            Ok(envelope) => envelope,
            Err(error) => return refuse(delivery, Reason::BadPayload, error),
        };
        match self.parse_fields(delivery, &topic, payload, &envelope) {
            Ok(parsed) => ParseOutcome::Parsed(parsed),
            Err(refusal) => ParseOutcome::Refused(refusal, rejected_fields(delivery, &envelope)),
        }
    }

    /// Gives a message without `ts` the time at which the broker received it, as the proof of its
    /// publisher says. So it has the same time whenever it is delivered again, and is stored once. A proof
    /// from the future is not used: the clock of the broker is wrong.
    pub fn date_by_proof(&self, outcome: ParseOutcome, delivery: &Delivery) -> ParseOutcome {
        let Some(proven) = delivery.publisher.proven() else { return outcome };
        let ParseOutcome::Parsed(mut parsed) = outcome else { return outcome };
        if parsed.time.is_some() {
            return ParseOutcome::Parsed(parsed);
        }
        match self.plausible.objection(proven.at, delivery.received_at) {
            None => parsed.time = Some(proven.at),
            Some(objection) if proven.at < delivery.received_at => {
                let detail = format!("without ts, the time at the broker counts: {objection}");
                let refusal = Refusal::new(Reason::TimestampOutOfRange, detail);
                return ParseOutcome::Refused(refusal, parsed.rejected_fields());
            }
            Some(_) => {}
        }
        ParseOutcome::Parsed(parsed)
    }

    fn parse_fields(
        &self,
        delivery: &Delivery,
        topic: &Topic<'_>,
        payload: &str,
        envelope: &Envelope<'_>,
    ) -> Result<Parsed, Refusal> {
        if json_limits::deeper_than(payload, self.max_json_depth) {
            let limit = self.max_json_depth;
            return Err(bad(format!("nested deeper than {limit} (MAX_JSON_DEPTH)")));
        }
        let spans = Spans(&delivery.payload);
        let (body, unstorable) = parse_body(self.max_metrics, &spans, topic.kind, envelope)?;
        let site = text(envelope, EnvelopeField::SiteId)?;
        if site.as_ref().is_some_and(|site| site.len() > MAX_SITE_LEN || site.contains('\0')) {
            return Err(bad(format!("site_id: at most {MAX_SITE_LEN} bytes, without NUL")));
        }
        let token = token(delivery, &spans, envelope)?;
        let (tenant, device) =
            (text(envelope, EnvelopeField::TenantId)?, text(envelope, EnvelopeField::DeviceId)?);
        check_version(topic.kind, envelope)?;
        if tenant.is_some_and(|tenant| tenant != topic.tenant) {
            return Err(Refusal::new(
                Reason::TenantMismatch,
                "tenant_id is not the topic's tenant",
            ));
        }
        if device.is_some_and(|device| device != topic.device) {
            return Err(Refusal::new(
                Reason::DeviceMismatch,
                "device_id is not the topic's device",
            ));
        }
        let time = self.time(envelope, delivery)?;
        Ok(Parsed {
            identity: delivery.topic.slice_ref(topic.identity.as_bytes()),
            msg_type: msg_type(delivery, topic.msg_type),
            time,
            site: site.map(|site| spans.keep(site)),
            token,
            is_from_link: delivery.arrival.is_some(),
            body,
            unstorable,
        })
    }

    fn time(
        &self,
        envelope: &Envelope<'_>,
        delivery: &Delivery,
    ) -> Result<Option<Timestamp>, Refusal> {
        let given = envelope.get(EnvelopeField::Ts).map(|raw| {
            timestamp::read(raw).ok_or_else(|| {
                Refusal::new(
                    Reason::BadTimestamp,
                    "ts is neither RFC 3339 (2026-02-03T12:00:00Z) nor Unix time as a number",
                )
            })
        });
        let Some(time) = given.transpose()?.or_else(|| delivery.event_time()) else {
            return Ok(None);
        };
        match self.plausible.objection(time, delivery.received_at) {
            Some(objection) => Err(Refusal::new(Reason::TimestampOutOfRange, objection)),
            None => Ok(Some(time)),
        }
    }
}

// --- private helpers ---

/// The usual type is one static value, so that no reference count changes.
fn msg_type(delivery: &Delivery, msg_type: &str) -> Bytes {
    const USUAL: &str = "telemetry";
    if msg_type == USUAL {
        Bytes::from_static(USUAL.as_bytes())
    } else {
        delivery.topic.slice_ref(msg_type.as_bytes())
    }
}

/// Refuses a message without reading its fields; only `ts` is read, to recognize a redelivery.
fn refuse(
    delivery: &Delivery,
    reason: Reason,
    detail: impl Into<Cow<'static, str>>,
) -> ParseOutcome {
    let fields = RejectedFields {
        event_time: timestamp_only::time(&delivery.payload).or_else(|| delivery.event_time()),
        ..RejectedFields::default()
    };
    ParseOutcome::Refused(Refusal::new(reason, detail), fields)
}

fn check_version(kind: MessageKind, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    match envelope.get(EnvelopeField::Version) {
        None | Some("\"1\"") => Ok(()),
        Some(_) if kind == MessageKind::ShadowReported => Ok(()),
        Some(_) => Err(Refusal::new(Reason::UnsupportedVersion, "version must be \"1\" or absent")),
    }
}
