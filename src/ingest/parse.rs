//! First step of a message, from its own bytes alone: topic, size, shape, versions, names, time.
//!
//! No IO, no clock, no registry. A [`Parsed`] shares the bytes of the packet; only a token in the
//! stored parts is removed.

pub mod envelope;
pub mod json_limits;
#[cfg(test)]
mod tests;
pub mod timestamp;
pub mod timestamp_only;

use std::borrow::Cow;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::sections::ingest::IngestConfig;
use crate::domain::batch::RejectedFields;
use crate::domain::message::Delivery;
use crate::domain::probe;
use crate::domain::redact::redact;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::domain::topic::{MessageKind, Topic};
use envelope::{Envelope, EnvelopeField, Wanted};
use timestamp::AcceptedTimes;

/// The longest site name, in bytes.
const MAX_SITE_LEN: usize = 128;

/// The longest status a device may give in a command acknowledgement, in bytes.
const MAX_STATUS_LEN: usize = 64;

/// Limits of a message.
#[derive(Clone, Debug)]
pub struct ParseLimits {
    max_payload_bytes: usize,
    max_json_depth: usize,
    max_metrics: usize,
    keep_extra_fields: bool,
    plausible: AcceptedTimes,
}

/// Result of parsing one message.
#[derive(Debug)]
pub enum ParseOutcome {
    /// Published by the platform itself.
    Ignored,
    /// Well-formed; its sender is authorized next.
    Parsed(Parsed),
    /// Refused, with the fields that were read before.
    Refused(Refusal, RejectedFields),
}

/// A well-formed message.
#[derive(Debug)]
pub struct Parsed {
    identity: Bytes,
    /// The topic's path after the device.
    pub msg_type: Bytes,
    /// The device's own time.
    pub time: Option<Timestamp>,
    /// The site it names.
    pub site: Option<Bytes>,
    /// The token it carries.
    pub token: TokenField,
    /// The contents, by type.
    pub body: ParsedBody,
    /// Why the database will refuse it, if that is known. Used only after its sender is accepted.
    pub unstorable: Option<&'static str>,
}

/// Contents of a message, by type.
#[derive(Debug)]
pub enum ParsedBody {
    /// A telemetry row.
    Telemetry {
        /// The device's own count.
        seq: Option<i64>,
        /// A JSON object.
        metrics: Bytes,
        /// Unknown fields, as a JSON object.
        extra: Option<Bytes>,
    },
    /// The device's reported state.
    Shadow {
        /// A JSON object.
        reported: Bytes,
        /// Its version.
        version: Option<i64>,
    },
    /// A command acknowledgement.
    CommandAck {
        /// Which command.
        command_id: Uuid,
        /// A JSON object.
        details: Bytes,
    },
}

/// Provisioning token of a message.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenField {
    /// The message carries none.
    Absent,
    /// As in the payload; hashed when needed.
    Given(Bytes),
    /// Only its hash: the message is replayed from quarantine.
    Hashed(TokenHash),
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
        let (body, unstorable) = self.parse_body(&spans, topic.kind, envelope)?;
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
        let time = self.time(envelope, delivery.received_at)?;
        Ok(Parsed {
            identity: delivery.topic.slice_ref(topic.identity.as_bytes()),
            msg_type: msg_type(delivery, topic.msg_type),
            time,
            site: site.map(|site| spans.keep(site)),
            token,
            body,
            unstorable,
        })
    }

    fn parse_body(
        &self,
        spans: &Spans<'_>,
        kind: MessageKind,
        envelope: &Envelope<'_>,
    ) -> Result<(ParsedBody, Option<&'static str>), Refusal> {
        match kind {
            MessageKind::ShadowReported => {
                let raw =
                    object(envelope, EnvelopeField::Reported, "reported")?.ok_or_else(|| {
                        bad("reported is missing: expected {\"reported\": {..}, \"version\": n}")
                    })?;
                let version = match envelope.get(EnvelopeField::Version) {
                    Some("\"1\"") | None => None,
                    Some(raw) => Some(count(raw, "version")?),
                };
                Ok((
                    ParsedBody::Shadow { reported: redact(&spans.share(raw)), version },
                    json_limits::unstorable(raw),
                ))
            }
            MessageKind::CommandAck => {
                let command_id = text(envelope, EnvelopeField::CommandId)?
                    .and_then(|id| Uuid::try_parse(&id).ok())
                    .ok_or_else(|| bad("command_id is missing or no UUID"))?;
                let details = command_details(envelope)?;
                let unstorable = json_limits::unstorable(&details);
                Ok((
                    ParsedBody::CommandAck { command_id, details: redact(&details.into()) },
                    unstorable,
                ))
            }
            MessageKind::Telemetry | MessageKind::Platform => {
                let metrics = object(envelope, EnvelopeField::Metrics, "metrics")?;
                if metrics.is_some_and(|raw| json_limits::more_keys_than(raw, self.max_metrics)) {
                    let limit = self.max_metrics;
                    return Err(bad(format!("metrics has more than {limit} keys (MAX_METRICS)")));
                }
                let seq =
                    envelope.get(EnvelopeField::Seq).map(|raw| count(raw, "seq")).transpose()?;
                let extra = extra_object(envelope);
                let unstorable = metrics
                    .and_then(json_limits::unstorable)
                    .or_else(|| extra.as_deref().and_then(json_limits::unstorable));
                let metrics =
                    metrics.map_or(Bytes::from_static(b"{}"), |raw| redact(&spans.share(raw)));
                Ok((
                    ParsedBody::Telemetry {
                        seq,
                        metrics,
                        extra: extra.map(|extra| redact(&extra.into())),
                    },
                    unstorable,
                ))
            }
        }
    }

    fn time(
        &self,
        envelope: &Envelope<'_>,
        received_at: Timestamp,
    ) -> Result<Option<Timestamp>, Refusal> {
        let Some(raw) = envelope.get(EnvelopeField::Ts) else { return Ok(None) };
        let time = timestamp::read(raw).ok_or_else(|| {
            Refusal::new(
                Reason::BadTimestamp,
                "ts is neither RFC 3339 (2026-02-03T12:00:00Z) nor Unix time as a number",
            )
        })?;
        match self.plausible.objection(time, received_at) {
            Some(objection) => Err(Refusal::new(Reason::TimestampOutOfRange, objection)),
            None => Ok(Some(time)),
        }
    }
}

// === impl Parsed ===

impl Parsed {
    /// `<t>/device/<d>`.
    pub fn identity(&self) -> &str {
        // A span of a topic that was parsed as text; the fallback names no device.
        std::str::from_utf8(&self.identity).unwrap_or_default()
    }

    /// Its fields, for a later refusal.
    pub fn rejected_fields(&self) -> RejectedFields {
        let site = self.site.as_deref().map(|site| String::from_utf8_lossy(site).into());
        RejectedFields { event_time: self.time, site, token: self.token.hash() }
    }
}

// === impl TokenField ===

impl TokenField {
    /// The hash, computed on demand.
    pub fn hash(&self) -> Option<TokenHash> {
        match self {
            Self::Absent => None,
            Self::Given(token) => Some(TokenHash::of(token)),
            Self::Hashed(hash) => Some(*hash),
        }
    }
}

impl std::fmt::Debug for TokenField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Absent { "Absent" } else { "[secret]" })
    }
}

/// The payload's bytes, which all kept parts share.
struct Spans<'a>(&'a Bytes);

impl Spans<'_> {
    fn share(&self, span: &str) -> Bytes {
        self.0.slice_ref(span.as_bytes())
    }

    fn keep(&self, text: Cow<'_, str>) -> Bytes {
        match text {
            Cow::Borrowed(span) => self.share(span),
            Cow::Owned(text) => text.into(),
        }
    }
}

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
        event_time: timestamp_only::time(&delivery.payload),
        ..RejectedFields::default()
    };
    ParseOutcome::Refused(Refusal::new(reason, detail), fields)
}

fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::BadPayload, detail)
}

/// Fields of a refused message, as far as they can be read.
fn rejected_fields(delivery: &Delivery, envelope: &Envelope<'_>) -> RejectedFields {
    let site = text(envelope, EnvelopeField::SiteId)
        .ok()
        .flatten()
        .filter(|site| site.len() <= MAX_SITE_LEN);
    RejectedFields {
        event_time: envelope
            .get(EnvelopeField::Ts)
            .and_then(timestamp::read)
            .filter(|time| time.is_storable()),
        site: site.map(|site| site.replace('\0', "\u{fffd}").into()),
        token: token(delivery, &Spans(&delivery.payload), envelope)
            .ok()
            .and_then(|token| token.hash()),
    }
}

/// A string field: the span inside its quotes, copied only when it has escapes.
fn text<'a>(
    envelope: &Envelope<'a>,
    field: EnvelopeField,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(raw) = envelope.get(field) else { return Ok(None) };
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) if !inside.contains('\\') => Ok(Some(Cow::Borrowed(inside))),
        Some(_) => serde_json::from_str::<String>(raw)
            .map(|text| Some(Cow::Owned(text)))
            .map_err(|_| bad(format!("{} has a broken escape", field.name()))),
        None => Err(bad(format!("{} must be a string", field.name()))),
    }
}

fn object<'a>(
    envelope: &Envelope<'a>,
    field: EnvelopeField,
    name: &str,
) -> Result<Option<&'a str>, Refusal> {
    match envelope.get(field) {
        Some(raw) if !raw.starts_with('{') => Err(bad(format!("{name} must be an object"))),
        raw => Ok(raw),
    }
}

/// An integer from 0 to 2^63-1, written as digits.
fn count(raw: &str, name: &str) -> Result<i64, Refusal> {
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| raw.parse().ok()).flatten();
    number.ok_or_else(|| bad(format!("{name} must be an integer from 0 to 9223372036854775807")))
}

fn token(
    delivery: &Delivery,
    spans: &Spans<'_>,
    envelope: &Envelope<'_>,
) -> Result<TokenField, Refusal> {
    if let Some(replay) = &delivery.replay {
        return Ok(replay.token.map_or(TokenField::Absent, TokenField::Hashed));
    }
    // An empty token proves nothing, and must not become a device's by AUTO_PROVISION.
    let given = text(envelope, EnvelopeField::ProvisionToken)?.filter(|token| !token.is_empty());
    Ok(given.map_or(TokenField::Absent, |token| TokenField::Given(spans.keep(token))))
}

fn check_version(kind: MessageKind, envelope: &Envelope<'_>) -> Result<(), Refusal> {
    match envelope.get(EnvelopeField::Version) {
        None | Some("\"1\"") => Ok(()),
        Some(_) if kind == MessageKind::ShadowReported => Ok(()),
        Some(_) => Err(Refusal::new(Reason::UnsupportedVersion, "version must be \"1\" or absent")),
    }
}

/// `{"status": .., "details": ..}` as the device gave them.
fn command_details(envelope: &Envelope<'_>) -> Result<String, Refusal> {
    if text(envelope, EnvelopeField::Status)?.is_some_and(|status| status.len() > MAX_STATUS_LEN) {
        return Err(bad(format!("status has more than {MAX_STATUS_LEN} bytes")));
    }
    let status = envelope.get(EnvelopeField::Status).unwrap_or("\"ok\"");
    let details = object(envelope, EnvelopeField::Details, "details")?.unwrap_or("null");
    Ok(format!("{{\"status\":{status},\"details\":{details}}}"))
}

/// The unknown fields, as one object.
fn extra_object(envelope: &Envelope<'_>) -> Option<String> {
    if envelope.extra.is_empty() {
        return None;
    }
    let fields: Vec<String> = envelope
        .extra
        .iter()
        .map(|(name, value)| format!("{}:{}", serde_json::Value::from(name.as_ref()), value.get()))
        .collect();
    Some(format!("{{{}}}", fields.join(",")))
}
