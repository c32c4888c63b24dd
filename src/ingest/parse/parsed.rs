//! What parsing one message gives. It shares the bytes of the packet.

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::batch::RejectedFields;
use crate::domain::message::CommandVerdict;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;

/// Result of parsing one message.
#[derive(Debug)]
pub enum ParseOutcome {
    /// Published by the platform itself.
    Ignored,
    /// Well-formed; its sender is authorized next.
    Parsed(Parsed),
    /// Refused, with the fields that were read before.
    Refused(Refusal, RejectedFields),
}

/// A well-formed message.
#[derive(Debug)]
pub struct Parsed {
    pub(super) identity: Bytes,
    /// The topic's path after the device.
    pub msg_type: Bytes,
    /// The device's own time.
    pub time: Option<Timestamp>,
    /// The site it names.
    pub site: Option<Bytes>,
    /// The token it carries.
    pub token: TokenField,
    /// Whether a link delivered it: no proof of the device is asked for.
    pub is_from_link: bool,
    /// The contents, by type.
    pub body: ParsedBody,
    /// Why the database will refuse it, if that is known. Used only after its sender is accepted.
    pub unstorable: Option<&'static str>,
}

/// Contents of a message, by type.
#[derive(Debug)]
pub enum ParsedBody {
    /// A telemetry row.
    Telemetry {
        /// The device's own count.
        seq: Option<i64>,
        /// A JSON object.
        metrics: Bytes,
        /// Unknown fields, as a JSON object.
        extra: Option<Bytes>,
    },
    /// The device's reported state.
    Shadow {
        /// A JSON object.
        reported: Bytes,
        /// Its version.
        version: Option<i64>,
    },
    /// A command acknowledgement.
    CommandAck {
        /// Which command.
        command_id: Uuid,
        /// What the device says about it.
        verdict: CommandVerdict,
        /// A JSON object.
        details: Bytes,
    },
}

/// Provisioning token of a message.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenField {
    /// The message carries none.
    Absent,
    /// As in the payload; hashed when needed.
    Given(Bytes),
    /// Only its hash: the message is replayed from quarantine.
    Hashed(TokenHash),
}

// === impl Parsed ===

impl Parsed {
    /// `<t>/device/<d>`.
    pub fn identity(&self) -> &str {
        // A span of a topic that was parsed as text; the fallback names no device.
        std::str::from_utf8(&self.identity).unwrap_or_default()
    }

    /// Its fields, for a later refusal.
    pub fn rejected_fields(&self) -> RejectedFields {
        let site = self.site.as_deref().map(|site| String::from_utf8_lossy(site).into());
        RejectedFields { event_time: self.time, site, token: self.token.hash() }
    }
}

// === impl TokenField ===

impl TokenField {
    /// The hash, computed on demand.
    pub fn hash(&self) -> Option<TokenHash> {
        match self {
            Self::Absent => None,
            Self::Given(token) => Some(TokenHash::of(token)),
            Self::Hashed(hash) => Some(*hash),
        }
    }
}

impl std::fmt::Debug for TokenField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Absent { "Absent" } else { "[secret]" })
    }
}
