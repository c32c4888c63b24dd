//! The fields of a payload, as spans of its bytes.
//!
//! It reads the object once, copies only text with escapes, refuses a field given twice, and checks
//! no value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Known fields. The last four are known only in shadow reports and command acknowledgements.
/// Each is the field of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeField {
    Ts,
    SiteId,
    TenantId,
    DeviceId,
    Seq,
    Metrics,
    ProvisionToken,
    Version,
    Reported,
    CommandId,
    Status,
    Details,
}

const FIELD_COUNT: usize = 12;

/// A payload's fields: raw values, `null` counting as absent.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    fields: [Option<&'a RawValue>; FIELD_COUNT],
    /// Unknown fields, if they are kept: keys and values in order.
    pub extra: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Which further fields to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether `reported`, `command_id`, `status` and `details` are known fields; otherwise they
    /// are unknown ones.
    pub platform_fields: bool,
    /// Whether unknown fields are kept.
    pub extra: bool,
}

/// Reads the payload as one JSON object. The error names problem and position, and quotes nothing
/// of the payload.
pub fn read(payload: &str, wanted: Wanted) -> Result<Envelope<'_>, String> {
    if !payload.trim_ascii_start().starts_with('{') {
        return Err("the payload is not a JSON object".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_str(payload);
    reader
        .deserialize_map(EnvelopeVisitor { wanted })
        .and_then(|envelope| reader.end().map(|()| envelope))
        .map_err(|error| format!("the payload is not a JSON object: {error}"))
}

// === impl EnvelopeField ===

impl EnvelopeField {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ts" => Self::Ts,
            "site_id" => Self::SiteId,
            "tenant_id" => Self::TenantId,
            "device_id" => Self::DeviceId,
            "seq" => Self::Seq,
            "metrics" => Self::Metrics,
            "provision_token" => Self::ProvisionToken,
            "version" => Self::Version,
            "reported" => Self::Reported,
            "command_id" => Self::CommandId,
            "status" => Self::Status,
            "details" => Self::Details,
            _ => return None,
        })
    }

    /// The name as it stands in the payload.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ts => "ts",
            Self::SiteId => "site_id",
            Self::TenantId => "tenant_id",
            Self::DeviceId => "device_id",
            Self::Seq => "seq",
            Self::Metrics => "metrics",
            Self::ProvisionToken => "provision_token",
            Self::Version => "version",
            Self::Reported => "reported",
            Self::CommandId => "command_id",
            Self::Status => "status",
            Self::Details => "details",
        }
    }

    const fn only_for_the_platform(self) -> bool {
        matches!(self, Self::Reported | Self::CommandId | Self::Status | Self::Details)
    }
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// The raw value of a field; `None` if it is absent or `null`.
    pub fn get(&self, field: EnvelopeField) -> Option<&'a str> {
        self.fields[field as usize].map(RawValue::get).filter(|raw| *raw != "null")
    }
}

struct EnvelopeVisitor {
    wanted: Wanted,
}

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(FieldName(name)) = map.next_key_seed(KeySeed)? {
            let field = EnvelopeField::from_name(&name)
                .filter(|field| self.wanted.platform_fields || !field.only_for_the_platform());
            if let Some(field) = field {
                let slot = &mut envelope.fields[field as usize];
                if slot.is_some() {
                    return Err(de::Error::custom(format_args!(
                        "the field {} is given twice",
                        field.name()
                    )));
                }
                *slot = Some(map.next_value()?);
            } else if self.wanted.extra {
                envelope.extra.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(envelope)
    }
}

/// A field's name: a span of the payload, copied only when it has escapes (serde's own `Cow` always
/// copies).
struct FieldName<'a>(Cow<'a, str>);

struct KeySeed;

impl<'de> de::DeserializeSeed<'de> for KeySeed {
    type Value = FieldName<'de>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<FieldName<'de>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = FieldName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<FieldName<'de>, E> {
        Ok(FieldName(Cow::Borrowed(name)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<FieldName<'de>, E> {
        Ok(FieldName(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wanted = Wanted { platform_fields: false, extra: false };

    #[test]
    fn fields_are_spans_of_the_payload() {
        let envelope =
            read(r#" {"ts": 1.50, "metrics":{"a" : 1e2}, "x":[1], "seq":null} "#, PLAIN).unwrap();
        assert_eq!(envelope.get(EnvelopeField::Ts), Some("1.50"));
        assert_eq!(envelope.get(EnvelopeField::Metrics), Some(r#"{"a" : 1e2}"#));
        assert_eq!(envelope.get(EnvelopeField::Seq), None);
        assert!(envelope.extra.is_empty());
    }

    #[test]
    fn a_payload_that_is_not_an_object_is_refused() {
        for payload in [
            "1",
            "null",
            "[]",
            "\"x\"",
            "",
            "NaN",
            "{",
            "{\"a\":NaN}",
            "{} {}",
            "{\"a\" 1}",
            "{'a':1}",
        ] {
            assert!(read(payload, PLAIN).unwrap_err().contains("not a JSON object"), "{payload}");
        }
    }

    #[test]
    fn a_field_given_twice_is_refused_also_when_one_is_escaped() {
        for payload in [r#"{"ts":1,"ts":2}"#, r#"{"ts":null,"ts":2}"#, r#"{"seq":1,"\u0073eq":2}"#]
        {
            assert!(read(payload, PLAIN).unwrap_err().contains("given twice"), "{payload}");
        }
        assert!(read(r#"{"x":1,"x":2}"#, PLAIN).is_ok(), "unread fields may repeat");
    }

    #[test]
    fn extras_keep_their_order_and_platform_fields_are_extras_elsewhere() {
        let payload = r#"{"b":1,"reported":{},"\u0061":2}"#;
        let kept = read(payload, Wanted { platform_fields: false, extra: true }).unwrap();
        let names: Vec<&str> = kept.extra.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["b", "reported", "a"]);
        let shadow = read(payload, Wanted { platform_fields: true, extra: false }).unwrap();
        assert_eq!(shadow.get(EnvelopeField::Reported), Some("{}"));
    }
}
