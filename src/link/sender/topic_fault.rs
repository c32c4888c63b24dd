//! Why the messages of a topic wait: the other broker refuses them, or ends the connection on them.
//!
//! It explains, and decides nothing.

use crate::domain::outbox::{DeadLetterCause, DeadLetterReason};
use crate::link::explain::codes::{NOT_AUTHORIZED, of_code};
use crate::link::explain::{CodePacket, FailureClass, LinkExplanation};
use crate::link::settings::LinkSettings;

/// Why the messages of a topic wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicFault {
    /// PUBACK with this code.
    Code(u8),
    /// The other broker ends the connection on a message of it.
    HangsUp,
}

// === impl TopicFault ===

impl TopicFault {
    /// What it means, and what to do.
    pub(super) fn explained(self, settings: &LinkSettings, topic: Option<&str>) -> LinkExplanation {
        if let Self::Code(code) = self {
            return of_code(settings, CodePacket::PubAck, code, topic);
        }
        let of_topic = topic.map(|topic| format!(" of the topic {topic}")).unwrap_or_default();
        LinkExplanation {
            what: format!("the other broker ends the connection on messages{of_topic}"),
            cause: Some("likely a policy denies the topic".to_owned()),
            advice: format!(
                "allow the topic at the other broker, or change link.{}.publish",
                settings.name
            ),
            class: FailureClass::Refused,
        }
    }

    /// Why a message that has waited until `refuse_after` is a dead letter.
    pub(super) fn dead_letter(self, settings: &LinkSettings) -> DeadLetterReason {
        let detail = format!("{}; it was tried until refuse_after", self.explained(settings, None));
        let (reason, code) = match self {
            Self::Code(code) if code == NOT_AUTHORIZED => {
                (DeadLetterCause::NotAuthorized, Some(code))
            }
            Self::Code(code) => (DeadLetterCause::Refused, Some(code)),
            Self::HangsUp => (DeadLetterCause::ClosesConnection, None),
        };
        DeadLetterReason { reason, code, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::file;

    const LINK: &str = "[link.a]\nkind = 'mqtt'\nhost = '127.0.0.1'\ntransport = 'tcp'\nclient_id = 'c'\n\
        publish = [{ from = 'tenant/+/device/+/telemetry', to = 'up/{device}' }]\n";

    #[test]
    fn a_dead_letter_after_refuse_after_says_what_the_other_broker_did() {
        let settings = file::parse(LINK).unwrap().links.remove(0);
        for (fault, cause, code, said) in [
            (TopicFault::HangsUp, DeadLetterCause::ClosesConnection, None, "ends the connection"),
            (TopicFault::Code(0x87), DeadLetterCause::NotAuthorized, Some(0x87), "0x87"),
            (TopicFault::Code(0x80), DeadLetterCause::Refused, Some(0x80), "0x80"),
        ] {
            let letter = fault.dead_letter(&settings);
            assert_eq!((letter.reason, letter.code), (cause, code));
            assert!(letter.detail.contains(said), "{}", letter.detail);
            assert!(letter.detail.contains("refuse_after"), "{}", letter.detail);
        }
    }
}
