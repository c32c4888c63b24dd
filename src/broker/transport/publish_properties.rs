//! Reads the properties of a PUBLISH that a response depends on.
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

// === impl PublishProperties ===

impl PublishProperties {
    /// Reads a property list without its length.
    pub fn read(list: &Bytes) -> Self {
        Self::read_all(list.clone()).unwrap_or_default()
    }

    fn read_all(mut list: Bytes) -> Option<Self> {
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
                    take_text(&mut list)?;
                }
                USER_PROPERTY => {
                    take_text(&mut list)?;
                    take_text(&mut list)?;
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

// --- private helpers ---

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
            let _ = PublishProperties::read(&list.into());
        }
    }
}
