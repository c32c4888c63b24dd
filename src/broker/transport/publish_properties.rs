//! Reads the properties of a PUBLISH: those that a response depends on, or also those of an event.
//!
//! A list that is not MQTT 5 gives no properties: the message is handled without them. It does not
//! judge what it reads.

use std::time::Duration;

use bytes::{Buf, Bytes};

const PAYLOAD_FORMAT: u8 = 1;
const MESSAGE_EXPIRY: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const RESPONSE_TOPIC: u8 = 8;
const CORRELATION_DATA: u8 = 9;
const SUBSCRIPTION_ID: u8 = 11;
const TOPIC_ALIAS: u8 = 35;
const USER_PROPERTY: u8 = 38;

/// Properties of a PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// What is left of the Message Expiry Interval.
    pub expires_in: Option<Duration>,
    /// The Response Topic, unchecked.
    pub response_topic: Option<Bytes>,
    /// The Correlation Data.
    pub correlation: Option<Bytes>,
}

/// Properties of a PUBLISH that may carry an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventProperties {
    /// Those of every PUBLISH.
    pub common: PublishProperties,
    /// The Content Type.
    pub content_type: Option<String>,
    /// The User Properties, in order.
    pub user_properties: Vec<(String, String)>,
}

// === impl PublishProperties ===

impl PublishProperties {
    /// Reads a property list without its length.
    pub fn read(list: &Bytes) -> Self {
        Self::read_all(list.clone(), None).unwrap_or_default()
    }

    /// Adds the properties of an event to `event`, where they are wanted.
    fn read_all(mut list: Bytes, mut event: Option<&mut EventProperties>) -> Option<Self> {
        let mut read = Self::default();
        while let Ok(property) = list.try_get_u8() {
            match property {
                PAYLOAD_FORMAT => {
                    list.try_get_u8().ok()?;
                }
                MESSAGE_EXPIRY => {
                    let seconds = list.try_get_u32().ok()?;
                    read.expires_in = Some(Duration::from_secs(seconds.into()));
                }
                RESPONSE_TOPIC => read.response_topic = Some(take_text(&mut list)?),
                CORRELATION_DATA => read.correlation = Some(take_text(&mut list)?),
                CONTENT_TYPE => {
                    let content_type = take_text(&mut list)?;
                    if let Some(event) = &mut event {
                        event.content_type = Some(text(&content_type));
                    }
                }
                USER_PROPERTY => {
                    let (name, value) = (take_text(&mut list)?, take_text(&mut list)?);
                    if let Some(event) = &mut event {
                        event.user_properties.push((text(&name), text(&value)));
                    }
                }
                SUBSCRIPTION_ID => while list.try_get_u8().ok()? & 0x80 != 0 {},
                TOPIC_ALIAS => {
                    list.try_get_u16().ok()?;
                }
                _ => return None,
            }
        }
        Some(read)
    }
}

// === impl EventProperties ===

impl EventProperties {
    /// Reads a property list without its length.
    pub fn read(list: &Bytes) -> Self {
        if list.is_empty() {
            return Self::default();
        }
        let mut read = Self::default();
        match PublishProperties::read_all(list.clone(), Some(&mut read)) {
            Some(common) => Self { common, ..read },
            None => Self::default(),
        }
    }
}

// --- private helpers ---

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes with their length in front.
fn take_text(list: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(list.try_get_u16().ok()?);
    (length <= list.len()).then(|| list.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_properties_are_read_wherever_they_are_in_the_list() {
        let list = b"\x01\x01\x26\0\x01k\0\x01v\x08\0\x03a/b\x0b\x81\x01\x09\0\x02\x00\xff\x02\0\0\0\x3c\x03\0\x01t\x23\0\x07";
        assert_eq!(
            PublishProperties::read(&Bytes::from_static(list)),
            PublishProperties {
                expires_in: Some(Duration::from_mins(1)),
                response_topic: Some(Bytes::from_static(b"a/b")),
                correlation: Some(Bytes::from_static(b"\x00\xff")),
            }
        );
    }

    #[test]
    fn an_event_has_its_content_type_and_its_user_properties_in_order() {
        let list = b"\x26\0\x01b\0\x01v\x03\0\x03t/x\x09\0\x01c\x26\0\x01a\0\x01\xff";
        let read = EventProperties::read(&Bytes::from_static(list));
        assert_eq!(read.content_type.as_deref(), Some("t/x"));
        assert_eq!(
            read.user_properties,
            [("b".to_owned(), "v".to_owned()), ("a".to_owned(), "\u{fffd}".to_owned())]
        );
        assert_eq!(read.common.correlation.as_deref(), Some(&b"c"[..]));
        let cut = &list[..list.len() - 1];
        assert_eq!(EventProperties::read(&Bytes::from_static(cut)), EventProperties::default());
    }

    #[test]
    fn an_invalid_list_gives_no_properties() {
        for list in [
            &b"\x09\0\x01x\x7f"[..],
            b"\x09\0\x01x\x08\0\x09short",
            b"\x09\0\x01x\x02\0\0",
            b"\x09\0\x01x\x0b\x80",
        ] {
            let read = PublishProperties::read(&Bytes::from_static(list));
            assert_eq!(read, PublishProperties::default(), "{list:?}");
        }
        assert_eq!(PublishProperties::read(&Bytes::new()), PublishProperties::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(list in prop::collection::vec(any::<u8>(), 0..200)) {
            let list = list.into();
            let read = EventProperties::read(&list).common;
            prop_assert_eq!(read, PublishProperties::read(&list));
        }
    }
}
