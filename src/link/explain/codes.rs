//! The reason codes of MQTT 5, as each kind of broker uses them.
//!
//! It names fields of the links file, and what must be changed at the other broker.

use super::{CodePacket, FailureClass, LinkExplanation, field};
use crate::link::kind::LinkKind;
use crate::link::settings::{LinkAuth, LinkSettings};

/// Another client has taken the session over.
pub(crate) const TAKEN_OVER: u8 = 0x8e;

/// The token's end, or the lack of a permission.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;

/// What a code in this packet means; `subject` is the topic or the filter.
pub fn of_code(
    settings: &LinkSettings,
    packet: CodePacket,
    code: u8,
    subject: Option<&str>,
) -> LinkExplanation {
    let about = subject.map(|subject| format!(" for {subject}")).unwrap_or_default();
    let what = match packet {
        CodePacket::ConnAck => {
            format!("the other broker refused the connection with code 0x{code:02X}")
        }
        CodePacket::SubAck => {
            format!("the other broker refused the subscription{about} with code 0x{code:02X}")
        }
        CodePacket::PubAck => {
            format!("the other broker refused a message{about} with code 0x{code:02X}")
        }
        CodePacket::Disconnect => {
            format!("the other broker ended the connection with code 0x{code:02X}")
        }
        CodePacket::Auth => {
            format!("the other broker refused the renewed token with code 0x{code:02X}")
        }
    };
    let (cause, advice) = match packet {
        CodePacket::ConnAck | CodePacket::Auth => at_connect(settings, code),
        CodePacket::SubAck | CodePacket::PubAck => at_topic(settings, packet, code),
        CodePacket::Disconnect => at_the_end(settings, code),
    };
    let class = match code {
        TAKEN_OVER => FailureClass::TakenOver,
        0x03 | 0x88 | 0x89 | 0x8b | 0x8d | 0x9f | 0x9c | 0x96 => FailureClass::Unavailable,
        0x97 if packet == CodePacket::Disconnect => FailureClass::Unavailable,
        _ => FailureClass::Refused,
    };
    LinkExplanation { what, cause: Some(cause.to_owned()), advice, class }
}

fn at_connect(settings: &LinkSettings, code: u8) -> (&'static str, String) {
    let named = |name| field(settings, name);
    match code {
        0x01 | 0x84 => (
            "it does not support MQTT 5",
            "use a broker with MQTT 5, or enable it there".to_owned(),
        ),
        0x02 | 0x85 => {
            ("it does not accept the client id", format!("change {}", named("client_id")))
        }
        0x04 | 0x86 => match settings.kind {
            LinkKind::EventGrid => (
                "likely the certificate and the user name do not belong together",
                format!("set {} to the client's authentication name", named("username")),
            ),
            _ => (
                "the user name or the password is wrong",
                format!("correct {}", login_fields(settings)),
            ),
        },
        0x05 | NOT_AUTHORIZED => not_authorized(settings),
        0x8c => (
            "it does not know the authentication method CUSTOM-JWT",
            match settings.kind {
                LinkKind::EventGrid => {
                    "enable the custom JWT authentication of the namespace".to_owned()
                }
                _ => format!("set {} to password or username", named("place")),
            },
        ),
        0x81..=0x83 => (
            "likely the packet uses something that it does not support",
            "report this as a defect, with the kind of the broker".to_owned(),
        ),
        0x03 | 0x88 | 0x89 => match settings.kind {
            LinkKind::EventGrid => (
                "likely MQTT is not enabled on the namespace, or the service is busy",
                "enable MQTT on the namespace; Sluice tries again".to_owned(),
            ),
            _ => ("it is unavailable or overloaded", "read its log; Sluice tries again".to_owned()),
        },
        0x8a => ("it has banned this client", "remove the ban at the other broker".to_owned()),
        TAKEN_OVER => taken_over(settings),
        0x95 => ("the packet is too large for it", format!("shorten {}", named("claims"))),
        0x97 => (
            "a quota is exhausted, likely that of sessions or connections",
            format!("end other sessions, raise the quota, or lower {}", named("lanes")),
        ),
        0x9c | 0x9d => ("it has another address", format!("change {}", named("host"))),
        0x9f => ("it limits the rate of connections", "Sluice waits and tries again".to_owned()),
        _ => other(),
    }
}

fn not_authorized(settings: &LinkSettings) -> (&'static str, String) {
    let named = |name| field(settings, name);
    match (settings.kind, &settings.auth) {
        (LinkKind::EventGrid, LinkAuth::Jwt { .. }) => (
            "likely the token is refused (key, issuer, audience, times), the client is unknown or \
             disabled, or another authentication name holds the client id",
            format!(
                "compare {}, {} and {} with the namespace; `sluice link check {}` shows the token",
                named("issuer"),
                named("subject"),
                named("audience"),
                settings.name
            ),
        ),
        (LinkKind::EventGrid, _) => (
            "likely the client is unknown or disabled, or another authentication name holds the \
             client id",
            format!(
                "compare {} and {} with the client in the namespace",
                named("cert"),
                named("username")
            ),
        ),
        (LinkKind::AwsIot, LinkAuth::Cognito { .. } | LinkAuth::SigV4 { .. }) => (
            "likely the policy of the role does not allow iot:Connect for this client id",
            format!("allow it for {}, or change that", named("client_id")),
        ),
        (LinkKind::AwsIot, _) => (
            "likely the policy of the certificate does not allow iot:Connect for this client id",
            format!("allow it for {}, or change that", named("client_id")),
        ),
        (LinkKind::Mqtt, _) => (
            "this user may not connect",
            format!("correct {}, or the access rules there", login_fields(settings)),
        ),
    }
}

fn at_topic(settings: &LinkSettings, packet: CodePacket, code: u8) -> (&'static str, String) {
    let rules = if packet == CodePacket::SubAck { "ingest" } else { "publish" };
    let rules = field(settings, rules);
    match (code, settings.kind) {
        (NOT_AUTHORIZED, LinkKind::EventGrid) => (
            "likely no permission binding covers the topic",
            format!(
                "bind the client group to a topic space with a matching template, or change {rules}"
            ),
        ),
        (NOT_AUTHORIZED, LinkKind::AwsIot) => (
            "likely the policy does not allow the topic",
            format!(
                "allow {} for it, or change {rules}",
                if packet == CodePacket::SubAck {
                    "iot:Subscribe and iot:Receive"
                } else {
                    "iot:Publish"
                }
            ),
        ),
        (NOT_AUTHORIZED, LinkKind::Mqtt) => (
            "its access rules do not permit the topic",
            format!("permit it there, or change {rules}"),
        ),
        (0x8f | 0x90, _) => ("it does not accept the topic", format!("change {rules}")),
        (0x95, _) => ("the message is larger than it accepts", "raise its limit".to_owned()),
        (0x96 | 0x97, _) => (
            "a limit of messages or bytes is exceeded",
            format!(
                "Sluice sends more slowly; lower {}, or raise the quota",
                field(settings, "max_rate")
            ),
        ),
        (0x99, _) => (
            "the payload does not have the format that it announces",
            format!("set the mode of the rule in {rules} to structured or raw"),
        ),
        (0x9e, _) => ("it has no shared subscriptions", format!("change {rules}")),
        (0xa2, _) => ("it accepts no wildcard here", format!("change {rules}")),
        _ => other(),
    }
}

fn at_the_end(settings: &LinkSettings, code: u8) -> (&'static str, String) {
    let named = |name| field(settings, name);
    match code {
        TAKEN_OVER => taken_over(settings),
        0x81..=0x83 | 0x9a | 0x9b => (
            "likely a packet used something that it does not support",
            "read its log, and compare the packet with its limits".to_owned(),
        ),
        NOT_AUTHORIZED => (
            "likely a policy does not allow what was sent last, or the token has ended",
            format!("check the policy and {}", login_fields(settings)),
        ),
        0x8b => ("it shuts down or restarts", "Sluice connects again".to_owned()),
        0x8d => (
            "it received no ping in time",
            "check the load of this machine; Sluice connects again".to_owned(),
        ),
        0x93 => (
            "more messages were in flight than it accepts",
            format!("lower {}, and report this as a defect", named("max_unacked")),
        ),
        0x95 => {
            ("a packet was larger than it accepts", format!("lower {}", named("max_packet_bytes")))
        }
        0x96 | 0x97 => (
            "a limit of messages or bytes is exceeded",
            format!("Sluice sends more slowly; lower {}, or raise the quota", named("max_rate")),
        ),
        0x98 => (
            "an operator ended it, likely because the client is disabled",
            "enable the client at the other broker".to_owned(),
        ),
        0x9c | 0x9d => ("it has another address", format!("change {}", named("host"))),
        0xa0 => ("the time of the login is over", format!("lower {}", named("lifetime"))),
        _ => other(),
    }
}

fn taken_over(settings: &LinkSettings) -> (&'static str, String) {
    (
        "another client uses the same client id",
        format!("give each client an id of its own: change {}", field(settings, "client_id")),
    )
}

fn other() -> (&'static str, String) {
    ("the code names no cause", "read the log of the other broker".to_owned())
}

/// The fields of the login, for a sentence.
pub(super) fn login_fields(settings: &LinkSettings) -> String {
    let named = |name| field(settings, name);
    match &settings.auth {
        LinkAuth::Anonymous => named("auth"),
        LinkAuth::Password { .. } => {
            format!("{} and {}", named("username"), named("password_file"))
        }
        LinkAuth::Jwt { .. } => format!("{} and {}", named("key"), named("subject")),
        LinkAuth::Certificate { .. } => format!("{} and {}", named("cert"), named("key")),
        LinkAuth::SigV4 { .. } => {
            format!("{} and {}", named("credentials_file"), named("region"))
        }
        LinkAuth::Cognito { .. } => {
            format!("{} and {}", named("identity_pool_id"), named("region"))
        }
    }
}
