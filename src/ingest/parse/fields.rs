//! Reads single fields of an envelope, and refuses a value of the wrong type.

use std::borrow::Cow;

use bytes::Bytes;

use super::envelope::{Envelope, EnvelopeField};
use super::parsed::TokenField;
use super::timestamp;
use crate::domain::batch::RejectedFields;
use crate::domain::message::Delivery;
use crate::domain::refusal::{Reason, Refusal};

/// The longest site name, in bytes.
pub(super) const MAX_SITE_LEN: usize = 128;

/// The payload's bytes, which all kept parts share.
pub(super) struct Spans<'a>(pub &'a Bytes);

// === impl Spans ===

impl Spans<'_> {
    /// A part, as it stands in the payload.
    pub fn share(&self, span: &str) -> Bytes {
        self.0.slice_ref(span.as_bytes())
    }

    /// A text, shared unless escapes were removed from it.
    pub fn keep(&self, text: Cow<'_, str>) -> Bytes {
        match text {
            Cow::Borrowed(span) => self.share(span),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// A refusal of the payload.
pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::BadPayload, detail)
}

/// A string field: the span inside its quotes, copied only when it has escapes.
pub(super) fn text<'a>(
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

/// A field that must be an object.
pub(super) fn object<'a>(
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
pub(super) fn count(raw: &str, name: &str) -> Result<i64, Refusal> {
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| raw.parse().ok()).flatten();
    number.ok_or_else(|| bad(format!("{name} must be an integer from 0 to 9223372036854775807")))
}

/// The token, if the message carries one.
pub(super) fn token(
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

/// Fields of a refused message, as far as they can be read.
pub(super) fn rejected_fields(delivery: &Delivery, envelope: &Envelope<'_>) -> RejectedFields {
    let site = text(envelope, EnvelopeField::SiteId)
        .ok()
        .flatten()
        .filter(|site| site.len() <= MAX_SITE_LEN);
    RejectedFields {
        event_time: envelope
            .get(EnvelopeField::Ts)
            .and_then(timestamp::read)
            .filter(|time| time.is_storable())
            .or_else(|| delivery.event_time()),
        site: site.map(|site| site.replace('\0', "\u{fffd}").into()),
        token: token(delivery, &Spans(&delivery.payload), envelope)
            .ok()
            .and_then(|token| token.hash()),
    }
}
