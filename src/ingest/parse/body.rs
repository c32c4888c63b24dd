//! Reads the contents of a message, by its type, and redacts what is stored of them.

use bytes::Bytes;
use uuid::Uuid;

use super::envelope::{Envelope, EnvelopeField};
use super::fields::{Spans, bad, count, object, text};
use super::json_limits;
use super::parsed::ParsedBody;
use crate::domain::message::CommandVerdict;
use crate::domain::redact::redact;
use crate::domain::refusal::Refusal;
use crate::domain::topic::MessageKind;

/// The longest status a device may give in a command acknowledgement, in bytes.
const MAX_STATUS_LEN: usize = 64;

/// Contents, and why the database will refuse them if that is known.
type Body = (ParsedBody, Option<&'static str>);

/// The contents of a message of this kind.
pub(super) fn parse_body(
    max_metrics: usize,
    spans: &Spans<'_>,
    kind: MessageKind,
    envelope: &Envelope<'_>,
) -> Result<Body, Refusal> {
    match kind {
        MessageKind::ShadowReported => parse_shadow(spans, envelope),
        MessageKind::CommandAck => parse_command_ack(envelope),
        MessageKind::Telemetry | MessageKind::Platform => {
            parse_telemetry(max_metrics, spans, envelope)
        }
    }
}

// --- private helpers ---

fn parse_shadow(spans: &Spans<'_>, envelope: &Envelope<'_>) -> Result<Body, Refusal> {
    let raw = object(envelope, EnvelopeField::Reported, "reported")?
        .ok_or_else(|| bad("reported is missing: expected {\"reported\": {..}, \"version\": n}"))?;
    let version = match envelope.get(EnvelopeField::Version) {
        Some("\"1\"") | None => None,
        Some(raw) => Some(count(raw, "version")?),
    };
    let reported = redact(&spans.share(raw));
    Ok((ParsedBody::Shadow { reported, version }, json_limits::unstorable(raw)))
}

fn parse_command_ack(envelope: &Envelope<'_>) -> Result<Body, Refusal> {
    let command_id = text(envelope, EnvelopeField::CommandId)?
        .and_then(|id| Uuid::try_parse(&id).ok())
        .ok_or_else(|| bad("command_id is missing or not a UUID"))?;
    let (verdict, details) = command_details(envelope)?;
    let unstorable = json_limits::unstorable(&details);
    let details = redact(&details.into());
    Ok((ParsedBody::CommandAck { command_id, verdict, details }, unstorable))
}

fn parse_telemetry(
    max_metrics: usize,
    spans: &Spans<'_>,
    envelope: &Envelope<'_>,
) -> Result<Body, Refusal> {
    let metrics = object(envelope, EnvelopeField::Metrics, "metrics")?;
    if metrics.is_some_and(|raw| json_limits::more_keys_than(raw, max_metrics)) {
        return Err(bad(format!("metrics has more than {max_metrics} keys (MAX_METRICS)")));
    }
    let seq = envelope.get(EnvelopeField::Seq).map(|raw| count(raw, "seq")).transpose()?;
    let extra = extra_object(envelope);
    let unstorable = metrics
        .and_then(json_limits::unstorable)
        .or_else(|| extra.as_deref().and_then(json_limits::unstorable));
    let metrics = metrics.map_or(Bytes::from_static(b"{}"), |raw| redact(&spans.share(raw)));
    let extra = extra.map(|extra| redact(&extra.into()));
    Ok((ParsedBody::Telemetry { seq, metrics, extra }, unstorable))
}

/// The verdict, and `{"status": .., "details": ..}` as the device gave them.
fn command_details(envelope: &Envelope<'_>) -> Result<(CommandVerdict, String), Refusal> {
    let word = text(envelope, EnvelopeField::Status)?;
    if word.as_ref().is_some_and(|status| status.len() > MAX_STATUS_LEN) {
        return Err(bad(format!("status has more than {MAX_STATUS_LEN} bytes")));
    }
    let verdict = CommandVerdict::of_status(word.as_deref());
    let status = envelope.get(EnvelopeField::Status).unwrap_or("\"ok\"");
    let details = object(envelope, EnvelopeField::Details, "details")?.unwrap_or("null");
    Ok((verdict, format!("{{\"status\":{status},\"details\":{details}}}")))
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
