//! The values in paths, queries and bodies: for each type one parser and one schema, side by side.
//!
//! The domain defines the rules of the values; this file describes them in the document.

use std::fmt::Display;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock;
use crate::domain::command::{CommandStatus, CommandType};
use crate::domain::device::DeviceStatus;
use crate::domain::enrolment::{CodeExpiry, NamePattern};
use crate::domain::ids::{DeviceId, TenantId};
use crate::domain::link::LinkName;
use crate::domain::outbox::DeadLetterCause;
use crate::domain::refusal::Reason;
use crate::domain::time::Timestamp;
use crate::domain::time_range::{InvalidTimeBound, TimeBound};
use crate::pki::authority::directory::PairName;
use crate::pki::crl::RevocationReason;
use crate::store::certificates::{CertificateStatus, Handle};
use crate::store::downlink::commands::CommandCursor;
use crate::store::links::refused::RefusedPlace;
use crate::store::quarantine::cursor::QuarantineCursor;
use crate::store::registry::tenants::TenantStatus;

/// The default number of rows of a page.
const LIMIT: u32 = 100;

/// The accepted numbers of rows of a page.
const LIMITS: RangeInclusive<u32> = 1..=1000;

/// The most characters of a name, a site, a message type or a metric.
const TEXT_MAX: usize = 256;

/// The deepest nesting of metadata.
const METADATA_DEPTH: usize = 16;

/// A value that arrives as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param<T>(pub T);

/// How many rows a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub u32);

/// A span of whole seconds, up to a year.
pub(crate) type Seconds = Whole<1, 31_536_000>;

/// A whole number within bounds: as [`Param`] where it comes as text, alone where it comes as a
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub u32);

/// A text for people or a name of something: not empty, not long, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FreeText(pub String);

/// A type that is read from text, with its schema.
pub(crate) trait TextParam: Sized {
    fn read(text: &str) -> Result<Self, String>;

    fn schema() -> Schema;
}

/// Free-form data that the owner of a device stores with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metadata(pub Map<String, Value>);

// === impl Param ===

impl<'de, T: TextParam> Deserialize<'de> for Param<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<T: TextParam> JsonSchema for Param<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

// === impl TextParam ===

/// Names that topics and commands contain.
macro_rules! name_params {
    ($pattern:literal: $($type:ty),+) => {$(
        impl TextParam for $type {
            fn read(text: &str) -> Result<Self, String> {
                parsed(text)
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

name_params!("^[A-Za-z0-9._:-]{1,64}$": TenantId, DeviceId, CommandType);
name_params!("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": PairName);

impl TextParam for NamePattern {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{0,64}[*]$", "examples": ["pump-*"] })
    }
}

/// The end of an enrolment code: a time, or a span after now.
impl TextParam for CodeExpiry {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [{ "format": "date-time" }, { "pattern": "^[0-9]+[smhd]$" }],
            "examples": ["24h", "7d", "2026-12-01T00:00:00Z"],
        })
    }
}

impl TextParam for Uuid {
    fn read(text: &str) -> Result<Self, String> {
        Self::try_parse(text).map_err(|_| "expected a UUID".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// As a bound of a time range: a time, or a span before now.
impl TextParam for Timestamp {
    fn read(text: &str) -> Result<Self, String> {
        let bound: TimeBound = text
            .parse()
            .map_err(|error: InvalidTimeBound| format!("{error} (in a query, write + as %2B)"))?;
        Ok(bound.at(clock::now()))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [{ "format": "date-time" }, { "pattern": "^[0-9]+[smhd]$" }],
            "examples": ["2026-11-21T06:00:00Z", "2h", "7d"],
        })
    }
}

impl TextParam for QuarantineCursor {
    fn read(text: &str) -> Result<Self, String> {
        let place: Option<Self> = text.parse().ok();
        place
            .filter(|place| place.at.is_storable())
            .ok_or_else(|| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "description": "The `next` of the previous page." })
    }
}

impl TextParam for CommandCursor {
    fn read(text: &str) -> Result<Self, String> {
        let place: Option<Self> = text.parse().ok();
        place
            .filter(|place| place.at.is_storable())
            .ok_or_else(|| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "description": "The `next` of the previous page." })
    }
}

impl TextParam for RefusedPlace {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected the `next` of an earlier page".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "description": "The `next` of the previous page." })
    }
}

impl TextParam for LinkName {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,32}$" })
    }
}

impl TextParam for DeadLetterCause {
    fn read(text: &str) -> Result<Self, String> {
        one_of(Self::of_label(text), &Self::ALL.map(Self::label))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::label) })
    }
}

/// The identifier of a refused message.
impl TextParam for i64 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a whole number".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "format": "int64" })
    }
}

impl TextParam for bool {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".to_owned())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// Types whose values are labels.
macro_rules! label_params {
    ($($type:ty => $labels:expr,)+) => {$(
        impl TextParam for $type {
            fn read(text: &str) -> Result<Self, String> {
                one_of(Self::from_label(text), &$labels)
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "enum": $labels })
            }
        }
    )+};
}

label_params! {
    Reason => Self::ALL.map(Self::label),
    TenantStatus => ["ACTIVE", "SUSPENDED"],
    DeviceStatus => ["ACTIVE", "INACTIVE", "REVOKED"],
    CommandStatus => Self::ALL.map(Self::label),
    CertificateStatus => Self::ALL.map(Self::label),
    RevocationReason => Self::ALL.map(Self::label),
}

impl TextParam for Handle {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "description": "The certificate's identifier (UUID) or its SHA-256 fingerprint in hex." })
    }
}

impl<const MIN: u32, const MAX: u32> TextParam for Whole<MIN, MAX> {
    fn read(text: &str) -> Result<Self, String> {
        let number: Option<u32> = text.parse().ok();
        let number = number.filter(|number| (MIN..=MAX).contains(number)).map(Self);
        number.ok_or_else(|| format!("expected a whole number from {MIN} to {MAX}"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl TextParam for FreeText {
    fn read(text: &str) -> Result<Self, String> {
        let is_good =
            (1..=TEXT_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        is_good.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!("expected 1 to {TEXT_MAX} characters without control characters")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": TEXT_MAX })
    }
}

impl TextParam for Limit {
    fn read(text: &str) -> Result<Self, String> {
        let limit: Option<u32> = text.parse().ok();
        limit.filter(|limit| LIMITS.contains(limit)).map(Self).ok_or_else(|| {
            format!("expected a whole number from {} to {}", LIMITS.start(), LIMITS.end())
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": LIMITS.start(), "maximum": LIMITS.end(), "default": LIMIT })
    }
}

impl Default for Param<Limit> {
    fn default() -> Self {
        Self(Limit(LIMIT))
    }
}

// === impl Whole ===

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let why = || D::Error::custom(format!("expected a whole number from {MIN} to {MAX}"));
        let number = u32::deserialize(deserializer).map_err(|_| why())?;
        (MIN..=MAX).contains(&number).then_some(Self(number)).ok_or_else(why)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Self::schema()
    }
}

// === impl Metadata ===

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Map::deserialize(deserializer)?;
        let is_storable = object
            .iter()
            .all(|(name, value)| !name.contains('\0') && is_storable(value, METADATA_DEPTH));
        let why = "expected an object without NUL characters, nested at most 16 levels deep";
        is_storable.then_some(Self(object)).ok_or_else(|| D::Error::custom(why))
    }
}

impl JsonSchema for Metadata {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metadata".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

// === private helpers ===

fn parsed<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn one_of<T>(found: Option<T>, labels: &[&str]) -> Result<T, String> {
    found.ok_or_else(|| format!("expected one of {}", labels.join(", ")))
}

fn is_storable(value: &Value, depth: usize) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_storable(item, depth - 1)),
        Value::Object(fields) => {
            depth > 0
                && fields
                    .iter()
                    .all(|(name, value)| !name.contains('\0') && is_storable(value, depth - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
