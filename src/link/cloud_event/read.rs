//! Reads a received message: as an event in structured mode, as one in binary mode, or as a plain
//! message.
//!
//! A message is structured if its Content Type begins with `application/cloudevents`, and binary if it
//! has the User Property `specversion`. It keeps the data as it came, and checks it no further than
//! that it is a JSON object.

use std::collections::HashSet;

use bytes::Bytes;
use uuid::Uuid;

use super::fault::{EventFault, quoted};
use super::fields::{EventFields, read_fields};
use super::nodes::{NODES, SINGLE_NODE, nodes_of};
use super::{REQUIRED, SPEC_VERSION, STRUCTURED};
use crate::domain::base64_text;
use crate::domain::link::event_identity;
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Timestamp;

/// An event without data has this.
const NO_DATA: &[u8] = b"{}";

/// What a received message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventParts {
    /// The data of the event, or the payload of a plain message.
    pub data: Bytes,
    /// The identity of the event; `None`: a plain message.
    pub identity: Option<Uuid>,
    /// The time of the event.
    pub time: Option<Timestamp>,
    /// The nodes that it has passed.
    pub via: Vec<Box<str>>,
}

/// Reads a message. `lenient`: a JSON object with all four required attributes is an event without the
/// content type, and names that no attribute may have are ignored.
pub fn read(message: &RemoteMessage, lenient: bool) -> Result<EventParts, EventFault> {
    let properties = || message.user_properties.iter().map(|(name, value)| (&**name, &**value));
    if let Some(content_type) = structured_type(message) {
        check_format(&content_type)?;
        return read_structured(message, lenient);
    }
    if properties().any(|(name, _)| name == "specversion") {
        return read_binary(message, lenient);
    }
    if lenient && looks_like_an_event(&message.payload) {
        return read_structured(message, lenient);
    }
    Ok(EventParts {
        data: message.payload.clone(),
        identity: None,
        time: None,
        via: nodes_of(properties())?,
    })
}

/// Whether only the whole payload can be read: it is an event in structured mode.
pub fn needs_whole_payload(message: &RemoteMessage) -> bool {
    structured_type(message).is_some()
}

// === impl EventParts ===

impl EventParts {
    /// A message that is no event.
    pub(crate) const fn plain(data: Bytes) -> Self {
        Self { data, identity: None, time: None, via: Vec::new() }
    }
}

// === private helpers ===

/// The media type of a structured event, in small letters and without parameters.
fn structured_type(message: &RemoteMessage) -> Option<String> {
    let content_type = message.content_type.as_deref()?;
    let media = content_type.split(';').next().unwrap_or_default().trim_ascii();
    let media = media.to_ascii_lowercase();
    media.starts_with(STRUCTURED).then_some(media)
}

fn check_format(media: &str) -> Result<(), EventFault> {
    match media.strip_prefix(STRUCTURED).unwrap_or_default() {
        "" | "+json" => Ok(()),
        batch if batch.starts_with("-batch") => Err(EventFault::Batch),
        _ => Err(EventFault::Format),
    }
}

fn read_binary(message: &RemoteMessage, lenient: bool) -> Result<EventParts, EventFault> {
    let mut names = HashSet::new();
    for (name, _) in &message.user_properties {
        if name == SINGLE_NODE {
            continue;
        }
        if !is_attribute_name(name) && !lenient {
            return Err(EventFault::Name(quoted(name)));
        }
        if is_attribute_name(name) && !names.insert(name.as_str()) {
            return Err(EventFault::Twice(quoted(name)));
        }
    }
    let get = |wanted: &str| {
        let found = message.user_properties.iter().find(|(name, _)| name == wanted);
        Ok(found.map(|(_, value)| value.clone()))
    };
    let Attributes { identity, time } = attributes(get)?;
    let properties = message.user_properties.iter().map(|(name, value)| (&**name, &**value));
    let is_empty = message.payload.is_empty() && message.cut_from.is_none();
    let data = if is_empty { Bytes::from_static(NO_DATA) } else { message.payload.clone() };
    Ok(EventParts { data, identity: Some(identity), time, via: nodes_of(properties)? })
}

fn read_structured(message: &RemoteMessage, lenient: bool) -> Result<EventParts, EventFault> {
    let text = std::str::from_utf8(&message.payload)
        .map_err(|_| EventFault::NotAnObject("it is not UTF-8".to_owned()))?;
    let fields = read_fields(text)?;
    check_fields(&fields, lenient)?;
    let text_of = |name: &str| {
        let value = fields.get(name);
        value.map(|raw| string_of(raw).ok_or_else(|| EventFault::NotText(quoted(name)))).transpose()
    };
    let Attributes { identity, time } = attributes(text_of)?;
    let nodes = text_of(NODES)?;
    let properties = message.user_properties.iter().map(|(name, value)| (&**name, &**value));
    let via = nodes_of(properties.chain(nodes.iter().map(|value| (NODES, value.as_str()))))?;
    Ok(EventParts { data: data(&message.payload, &fields)?, identity: Some(identity), time, via })
}

/// Checks the names of all members, and that each extension is a text, a number or a truth value.
fn check_fields(fields: &EventFields<'_>, lenient: bool) -> Result<(), EventFault> {
    for (name, value) in &fields.0 {
        if matches!(name.as_str(), "data" | "data_base64") {
            continue;
        }
        if !is_attribute_name(name) {
            if lenient {
                continue;
            }
            return Err(EventFault::Name(quoted(name)));
        }
        if value.get().starts_with(['{', '[']) {
            return Err(EventFault::NotText(quoted(name)));
        }
    }
    Ok(())
}

/// What Sluice needs of the attributes.
struct Attributes {
    identity: Uuid,
    time: Option<Timestamp>,
}

fn attributes(
    get: impl Fn(&str) -> Result<Option<String>, EventFault>,
) -> Result<Attributes, EventFault> {
    let required = |name: &'static str| match get(name)? {
        None => Err(EventFault::Missing(name)),
        Some(value) if value.is_empty() => Err(EventFault::Empty(name)),
        Some(value) => Ok(value),
    };
    let [version, id, source] = ["specversion", "id", "source"].map(required);
    if version? != SPEC_VERSION {
        return Err(EventFault::Version);
    }
    let (id, source) = (id?, source?);
    required("type")?;
    let identity = event_identity(&source, &id);
    let time = get("time")?.map(|time| read_time(&time).ok_or(EventFault::Time)).transpose()?;
    Ok(Attributes { identity, time })
}

fn data(payload: &Bytes, fields: &EventFields<'_>) -> Result<Bytes, EventFault> {
    match (fields.get("data"), fields.get("data_base64")) {
        (Some(_), Some(_)) => Err(EventFault::TwoData),
        (None, None) => Ok(Bytes::from_static(NO_DATA)),
        (Some(raw), None) => match kind_of(raw) {
            None => Ok(payload.slice_ref(raw.as_bytes())),
            Some(found) => Err(EventFault::Data { member: "data", found }),
        },
        (None, Some(raw)) => {
            decode(raw).map_err(|found| EventFault::Data { member: "data_base64", found })
        }
    }
}

/// The JSON object in a text of base64; else what it is.
fn decode(raw: &str) -> Result<Bytes, &'static str> {
    let text = string_of(raw).ok_or("no text")?;
    let decoded = base64_text::decode(&text).ok_or("no base64")?;
    let is_object = std::str::from_utf8(&decoded).is_ok_and(|text| read_fields(text).is_ok());
    if is_object { Ok(decoded.into()) } else { Err("no base64 of a JSON object") }
}

/// What a JSON value is; `None`: an object.
fn kind_of(raw: &str) -> Option<&'static str> {
    match raw.as_bytes().first() {
        Some(b'{') => None,
        Some(b'[') => Some("an array"),
        Some(b'"') => Some("a text"),
        Some(b't' | b'f') => Some("a truth value"),
        _ => Some("a number"),
    }
}

fn string_of(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn read_time(text: &str) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_micros(time.timestamp_micros())).filter(|time| time.is_storable())
}

fn looks_like_an_event(payload: &[u8]) -> bool {
    let fields = std::str::from_utf8(payload).ok().and_then(|text| read_fields(text).ok());
    fields.is_some_and(|fields| REQUIRED.iter().all(|name| fields.get(name).is_some()))
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
