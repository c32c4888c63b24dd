//! The topic grammar `tenant/<t>/device/<d>/<type>[/...]`, and what each type means.
//!
//! It borrows; it copies nothing and repairs nothing.

use super::ids::{IdError, check_id};

/// The most bytes of the path after the device, `telemetry/<stream>/...`.
pub const MAX_TYPE_LEN: usize = 128;

/// A parsed topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// `<t>/device/<d>`, as it stands in the topic: the device's identity.
    pub identity: &'a str,
    /// The path after the device.
    pub msg_type: &'a str,
    /// What a message of its type becomes.
    pub kind: MessageKind,
}

/// A topic with valid tenant and device, and a type that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// `<t>/device/<d>`, as it stands in the topic.
    pub identity: &'a str,
    /// The path after the device, unread.
    pub msg_type: &'a str,
}

/// What a message of this type becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A telemetry row.
    Telemetry,
    /// The device's reported state.
    ShadowReported,
    /// The device acknowledges a command.
    CommandAck,
    /// Published by the platform itself, or a request that the exchange receives: ignored and
    /// counted.
    Platform,
}

/// Why a topic was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not UTF-8, which MQTT forbids.
    #[error("the topic is not UTF-8")]
    NotUtf8,
    /// Not of the form.
    #[error("expected tenant/<tenant>/device/<device>/<type>")]
    Shape,
    /// A tenant name outside the grammar.
    #[error("tenant: {0}")]
    Tenant(IdError),
    /// A device name outside the grammar.
    #[error("device: {0}")]
    Device(IdError),
    /// An invalid type, or a path behind a type that has none.
    #[error("invalid message type: {0}")]
    Type(&'static str),
}

// === impl Topic ===

impl<'a> Topic<'a> {
    /// Parses the topic of a PUBLISH.
    pub fn parse(topic: &'a [u8]) -> Result<Self, TopicError> {
        let Owned { tenant, device, identity, msg_type } = Owned::parse(topic)?;
        Ok(Self { tenant, device, identity, msg_type, kind: kind(msg_type)? })
    }
}

// === impl Owned ===

impl<'a> Owned<'a> {
    /// Reads tenant and device; any type is accepted.
    pub fn parse(topic: &'a [u8]) -> Result<Self, TopicError> {
        let text = std::str::from_utf8(topic).map_err(|_| TopicError::NotUtf8)?;
        let rest = text.strip_prefix("tenant/").ok_or(TopicError::Shape)?;
        let (tenant, after) = rest.split_once('/').ok_or(TopicError::Shape)?;
        check_id(tenant.as_bytes()).map_err(TopicError::Tenant)?;
        let after = after.strip_prefix("device/").ok_or(TopicError::Shape)?;
        let (device, msg_type) = after.split_once('/').ok_or(TopicError::Shape)?;
        check_id(device.as_bytes()).map_err(TopicError::Device)?;
        let identity = &rest[..tenant.len() + "/device/".len() + device.len()];
        Ok(Self { tenant, device, identity, msg_type })
    }
}

/// The table of types. The subscription also delivers what the platform publishes; this table
/// separates it.
fn kind(msg_type: &str) -> Result<MessageKind, TopicError> {
    if msg_type.len() > MAX_TYPE_LEN {
        return Err(TopicError::Type("longer than 128 bytes"));
    }
    let (word, path) =
        msg_type.split_once('/').map_or((msg_type, None), |(word, path)| (word, Some(path)));
    match (word, path) {
        ("commands", Some("ack")) => Ok(MessageKind::CommandAck),
        ("commands" | "jobs" | "errors" | "request" | "response" | "notices", _)
        | ("shadow", Some("desired")) => Ok(MessageKind::Platform),
        ("shadow", Some("reported")) => Ok(MessageKind::ShadowReported),
        ("telemetry", Some(stream)) if stream.split('/').all(is_word) => Ok(MessageKind::Telemetry),
        (word, None) if is_word(word) => Ok(MessageKind::Telemetry),
        (_, None) => Err(TopicError::Type("a type has 1 to 64 characters of A-Z a-z 0-9 . _ : -")),
        ("telemetry", Some(_)) => {
            Err(TopicError::Type("a stream has 1 to 64 characters of A-Z a-z 0-9 . _ : -"))
        }
        (_, Some(_)) => Err(TopicError::Type("only telemetry may have a path below it")),
    }
}

fn is_word(word: &str) -> bool {
    check_id(word.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind_of(path: &str) -> Result<MessageKind, TopicError> {
        Topic::parse(format!("tenant/t/device/d/{path}").as_bytes()).map(|topic| topic.kind)
    }

    #[test]
    fn every_type_has_its_kind() {
        for path in [
            "telemetry",
            "telemetry/engine",
            "telemetry/engine/left",
            "heartbeat",
            "event",
            "status",
        ] {
            assert_eq!(kind_of(path), Ok(MessageKind::Telemetry), "{path}");
        }
        for path in [
            "commands",
            "commands/x",
            "commands/ack/x",
            "shadow/desired",
            "jobs",
            "jobs/7",
            "errors",
            "errors/1",
            "request",
            "request/time",
            "request/certificate/renew",
            "response",
            "response/time/accepted",
            "notices",
            "notices/certificate",
        ] {
            assert_eq!(kind_of(path), Ok(MessageKind::Platform), "{path}");
        }
        assert_eq!(kind_of("shadow/reported"), Ok(MessageKind::ShadowReported));
        assert_eq!(kind_of("commands/ack"), Ok(MessageKind::CommandAck));
        for path in [
            "",
            "telemetry/",
            "telemetry//x",
            "shadow/x",
            "heartbeat/x",
            "a b",
            "t\u{e9}l",
            &"x".repeat(65),
        ] {
            assert!(matches!(kind_of(path), Err(TopicError::Type(_))), "{path}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for topic in [
            "",
            "tenant",
            "tenant/t/device/d",
            "tenant//device/d/x",
            "tenants/t/device/d/x",
            "tenant/t/dev/d/x",
        ] {
            assert!(Topic::parse(topic.as_bytes()).is_err(), "{topic}");
        }
        assert_eq!(Topic::parse(b"tenant/t/device/\xff/x"), Err(TopicError::NotUtf8));
        assert_eq!(
            Topic::parse(b"tenant/a+/device/d/x"),
            Err(TopicError::Tenant(IdError::BadCharacter))
        );
        assert_eq!(Topic::parse(b"tenant/t/device//x"), Err(TopicError::Device(IdError::Empty)));
    }

    proptest! {
        #[test]
        fn what_is_built_from_names_parses_back(
            tenant in "[A-Za-z0-9._:-]{1,64}", device in "[A-Za-z0-9._:-]{1,64}", stream in "[A-Za-z0-9._:-]{1,64}",
        ) {
            let text = format!("tenant/{tenant}/device/{device}/telemetry/{stream}");
            let topic = Topic::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(topic.tenant, &tenant);
            prop_assert_eq!(topic.device, &device);
            prop_assert_eq!(topic.identity, format!("{tenant}/device/{device}"));
            prop_assert_eq!(topic.msg_type, format!("telemetry/{stream}"));
        }

        #[test]
        fn no_bytes_make_it_panic_and_accepted_topics_match_the_grammar(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(topic) = Topic::parse(&bytes) {
                prop_assert!(check_id(topic.tenant.as_bytes()).is_ok());
                prop_assert!(check_id(topic.device.as_bytes()).is_ok());
            }
        }

        #[test]
        fn near_misses_never_panic(text in "tenant/[a+#/.]{0,4}/device/[a$/]{0,4}/(telemetry|shadow|commands|x)?[/a+#]{0,6}") {
            let _ = Topic::parse(text.as_bytes());
        }
    }
}
