//! Finds the reserved user properties in the encoded property list of a PUBLISH, as slices of it.
//!
//! It allocates nothing, and checks no value. A list that is not MQTT 5 has no reserved properties.

use sluice_shared::proof::{PUBLISHER_PROPERTY, is_reserved};

const PAYLOAD_FORMAT: u8 = 1;
const MESSAGE_EXPIRY: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const RESPONSE_TOPIC: u8 = 8;
const CORRELATION_DATA: u8 = 9;
const SUBSCRIPTION_ID: u8 = 11;
const TOPIC_ALIAS: u8 = 35;
const USER_PROPERTY: u8 = 38;

/// The reserved user properties of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReservedProperties<'a> {
    /// The value of `sluice-publisher`.
    pub publisher: Option<&'a [u8]>,
    /// Whether it is there twice, or another reserved name is.
    pub is_ambiguous: bool,
}

// === impl ReservedProperties ===

impl<'a> ReservedProperties<'a> {
    /// Reads a property list without its length.
    pub fn read(list: &'a [u8]) -> Self {
        let mut found = Self::default();
        match found.read_all(list) {
            Some(()) => found,
            None => Self::default(),
        }
    }

    fn read_all(&mut self, list: &'a [u8]) -> Option<()> {
        let mut rest = list;
        while let Some((&property, after)) = rest.split_first() {
            rest = match property {
                PAYLOAD_FORMAT => after.get(1..)?,
                TOPIC_ALIAS => after.get(2..)?,
                MESSAGE_EXPIRY => after.get(4..)?,
                CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA => take_text(after)?.1,
                SUBSCRIPTION_ID => {
                    let end = after.iter().position(|byte| byte & 0x80 == 0)?;
                    &after[end + 1..]
                }
                USER_PROPERTY => {
                    let (name, after) = take_text(after)?;
                    let (value, after) = take_text(after)?;
                    self.note(name, value);
                    after
                }
                _ => return None,
            };
        }
        Some(())
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        if !is_reserved(name) {
            return;
        }
        let is_own = name == PUBLISHER_PROPERTY.as_bytes();
        self.is_ambiguous |= !is_own || self.publisher.replace(value).is_some();
    }
}

// === private helpers ===

/// Bytes with their length in front, and what follows them.
fn take_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_are_found_wherever_they_are_in_the_list() {
        let list = b"\x01\x01\x26\0\x01k\0\x01v\x08\0\x03a/b\x0b\x81\x01\x09\0\x02\x00\xff\
            \x02\0\0\0\x3c\x03\0\x01t\x26\0\x10sluice-publisher\0\x02pp\x23\0\x07";
        let found = ReservedProperties::read(list);
        let expected = ReservedProperties { publisher: Some(b"pp"), is_ambiguous: false };
        assert_eq!(found, expected);
        for end in 1..list.len() {
            let cut = ReservedProperties::read(&list[..end]);
            assert!(cut.publisher.is_none() || cut == found, "{end}");
        }
    }

    #[test]
    fn a_list_with_an_unknown_property_has_none() {
        let list = b"\x26\0\x10sluice-publisher\0\x01p\x7f";
        assert_eq!(ReservedProperties::read(list), ReservedProperties::default());
    }
}
