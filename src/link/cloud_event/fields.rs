//! The members of a JSON object, as spans of its bytes; a name given twice is a fault.
//!
//! It checks no value.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{EventFault, quoted};

/// The members of an object, in order.
#[derive(Debug, Default)]
pub(crate) struct EventFields<'a>(pub Vec<(String, &'a RawValue)>);

/// Reads the text as one JSON object.
pub(crate) fn read_fields(text: &str) -> Result<EventFields<'_>, EventFault> {
    // The reader quotes a whole text that is no object: a detail would have all of it.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(EventFault::NotAnObject("it does not begin with {".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields =
        reader.deserialize_map(EventFieldsVisitor).and_then(|fields| reader.end().map(|()| fields));
    let fields = fields.map_err(|error| EventFault::NotAnObject(error.to_string()))?;
    let mut names = HashSet::with_capacity(fields.0.len());
    match fields.0.iter().find(|(name, _)| !names.insert(name.as_str())) {
        Some((name, _)) => Err(EventFault::Twice(quoted(name))),
        None => Ok(fields),
    }
}

// === impl EventFields ===

impl<'a> EventFields<'a> {
    /// The value of a member; `None` if it is absent or `null`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let member = self.0.iter().find(|(member, _)| member == name);
        member.map(|(_, value)| value.get()).filter(|value| *value != "null")
    }
}

struct EventFieldsVisitor;

impl<'de> Visitor<'de> for EventFieldsVisitor {
    type Value = EventFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventFields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.len() == MAX_FIELDS {
                return Err(de::Error::custom("it has more than 256 members"));
            }
            fields.push((name, map.next_value()?));
        }
        Ok(EventFields(fields))
    }
}

/// Most members of an event.
const MAX_FIELDS: usize = 256;
