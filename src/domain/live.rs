//! A decision about one message as the live tail shows it: what a search may name, what it selects,
//! and the line.
//!
//! A line stands for the decision of this daemon, which comes before the commit. It contains no token.

use std::fmt;

use super::ids::TenantId;
use super::link::{LinkName, LinkOutcome};
use super::message::Delivery;
use super::redact::redact;
use super::refusal::{Reason, Refusal};
use super::search::{Accepts, Search, SearchError, SearchKey, SearchKeys, SearchValue};
use super::time::Timestamp;
use super::topic::Owned;

/// The most characters of a payload in a line.
pub const PAYLOAD_CHARS: usize = 240;

/// The most characters of a topic and of a detail in a line.
const TEXT_CHARS: usize = 256;

/// The bytes of a payload that the excerpt is made of: characters have at most four.
const EXCERPT_BYTES: usize = 4 * PAYLOAD_CHARS;

/// The keys of the live tail.
pub const LIVE_KEYS: SearchKeys = SearchKeys {
    keys: &[
        SearchKey { name: "tenant", accepts: Accepts::Text, help: "messages of this tenant" },
        SearchKey {
            name: "device",
            accepts: Accepts::Text,
            help: "messages of this device; a word without a key means the same",
        },
        SearchKey {
            name: "type",
            accepts: Accepts::Text,
            help: "messages of this type, such as telemetry or commands/ack",
        },
        SearchKey {
            name: "outcome",
            accepts: Accepts::Words(|| LiveOutcome::ALL.map(LiveOutcome::label).to_vec()),
            help: "messages that were decided so",
        },
        SearchKey {
            name: "reason",
            accepts: Accepts::Words(|| Reason::ALL.map(Reason::label).to_vec()),
            help: "messages that were refused for this reason",
        },
        SearchKey { name: "topic", accepts: Accepts::Text, help: "messages of this topic" },
    ],
    bare: "device",
};

/// What was decided about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveOutcome {
    /// Accepted by all checks.
    Accepted,
    /// Refused.
    Refused,
    /// Delivered again; an earlier delivery was decided.
    Duplicate,
    /// Published by the platform itself.
    Ignored,
}

/// What a search sees of a message.
#[derive(Clone, Copy, Debug)]
pub struct DecidedMessage<'a> {
    /// The message.
    pub delivery: &'a Delivery,
    /// What was decided.
    pub outcome: LiveOutcome,
    /// Why it is refused.
    pub refusal: Option<&'a Refusal>,
    /// Its sender, if the topic names one.
    pub sender: Option<Owned<'a>>,
}

/// One line of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLine {
    /// When Sluice received the message.
    pub received_at: Timestamp,
    /// What was decided.
    pub outcome: LiveOutcome,
    /// The topic's tenant.
    pub tenant_id: Option<String>,
    /// The topic's device.
    pub device_id: Option<String>,
    /// The topic's path after the device.
    pub msg_type: Option<String>,
    /// Why it is refused.
    pub reason: Option<Reason>,
    /// What exactly was wrong.
    pub detail: Option<String>,
    /// The size of the payload.
    pub bytes: usize,
    /// The topic, or its beginning.
    pub topic: String,
    /// The beginning of the payload, without its token.
    pub payload: String,
    /// Whether the payload continues.
    pub payload_cut: bool,
    /// The link that it came from.
    pub link: Option<LinkName>,
}

/// Which decisions a listener wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSearch {
    search: Search,
    /// The terms of each key.
    groups: Vec<LiveTerms>,
    /// The only tenant that the listener may see.
    tenant: Option<TenantId>,
}

/// The terms of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LiveTerms {
    key: &'static str,
    included: Vec<SearchValue>,
    excluded: Vec<SearchValue>,
}

// === impl LiveOutcome ===

impl LiveOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Duplicate, Self::Ignored];

    /// The outcome of a decision. A message whose earlier delivery is known is a duplicate.
    pub const fn of(decided: LinkOutcome, is_known: bool) -> Self {
        match decided {
            _ if is_known => Self::Duplicate,
            LinkOutcome::Accepted => Self::Accepted,
            LinkOutcome::Refused => Self::Refused,
            LinkOutcome::Ignored | LinkOutcome::Own => Self::Ignored,
        }
    }

    /// Its stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }
}

// === impl DecidedMessage ===

impl<'a> DecidedMessage<'a> {
    /// The message with the sender that its topic names. A topic of another broker names none.
    pub fn new(delivery: &'a Delivery, outcome: LiveOutcome, refusal: Option<&'a Refusal>) -> Self {
        let is_local = refusal.is_none_or(|refusal| delivery.has_local_topic(refusal.reason));
        let sender = Owned::parse(&delivery.topic).ok().filter(|_| is_local);
        Self { delivery, outcome, refusal, sender }
    }

    /// The text of a key.
    fn text(&self, key: &str) -> Option<&str> {
        match key {
            "tenant" => self.sender.map(|sender| sender.tenant),
            "device" => self.sender.map(|sender| sender.device),
            "type" => self.sender.map(|sender| sender.msg_type),
            "outcome" => Some(self.outcome.label()),
            "reason" => self.refusal.map(|refusal| refusal.reason.label()),
            _ => std::str::from_utf8(&self.delivery.topic).ok(),
        }
    }

    /// The line of the tail.
    pub fn line(&self) -> LiveLine {
        let Delivery { topic, payload, cut_from, received_at, .. } = self.delivery;
        let bytes = cut_from.unwrap_or(payload.len());
        let head = redact(&payload.slice(..payload.len().min(EXCERPT_BYTES)));
        let text = String::from_utf8_lossy(&head);
        let excerpt = beginning(&text, PAYLOAD_CHARS);
        let own = |text: &str| text.to_owned();
        LiveLine {
            received_at: *received_at,
            outcome: self.outcome,
            tenant_id: self.sender.map(|sender| own(sender.tenant)),
            device_id: self.sender.map(|sender| own(sender.device)),
            msg_type: self.sender.map(|sender| own(sender.msg_type)),
            reason: self.refusal.map(|refusal| refusal.reason),
            detail: self.refusal.map(|refusal| own(beginning(&refusal.detail, TEXT_CHARS))),
            bytes,
            topic: own(beginning(&String::from_utf8_lossy(topic), TEXT_CHARS)),
            payload_cut: excerpt.len() < text.len() || bytes > EXCERPT_BYTES,
            payload: own(excerpt),
            link: self.delivery.link().cloned(),
        }
    }
}

// === impl LiveSearch ===

impl LiveSearch {
    /// Reads a search of a listener that may see only this tenant, if one is named.
    pub fn read(text: &str, tenant: Option<TenantId>) -> Result<Self, SearchError> {
        let search = Search::read(text, &LIVE_KEYS)?;
        let own = |values: Vec<&SearchValue>| values.into_iter().cloned().collect();
        let groups = search.groups().into_iter().map(|(key, included, excluded)| LiveTerms {
            key,
            included: own(included),
            excluded: own(excluded),
        });
        let groups = groups.collect();
        Ok(Self { search, groups, tenant })
    }

    /// Whether a message is wanted.
    pub fn selects(&self, message: &DecidedMessage<'_>) -> bool {
        let is_visible = self.tenant.as_ref().is_none_or(|tenant| {
            message.sender.is_some_and(|sender| sender.tenant == tenant.as_str())
        });
        is_visible && self.groups.iter().all(|terms| terms.select(message.text(terms.key)))
    }
}

/// As it is written, without the tenant of the listener.
impl fmt::Display for LiveSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.search)
    }
}

// === impl LiveTerms ===

impl LiveTerms {
    fn select(&self, text: Option<&str>) -> bool {
        let matches = |value: &SearchValue| match (value, text) {
            (SearchValue::Exact(wanted), Some(text)) => wanted == text,
            (SearchValue::Prefix(wanted), Some(text)) => text.starts_with(wanted.as_str()),
            (SearchValue::Word(wanted), Some(text)) => *wanted == text,
            _ => false,
        };
        (self.included.is_empty() || self.included.iter().any(matches))
            && !self.excluded.iter().any(matches)
    }
}

// === private helpers ===

/// At most this many characters.
fn beginning(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::publisher::Publisher;

    fn delivery(topic: &str, payload: &str) -> Delivery {
        Delivery {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            cut_from: None,
            received_at: Timestamp::from_micros(0),
            held_since: Timestamp::from_micros(0),
            dup: false,
            redelivered: false,
            maybe_repeated: false,
            ack: None,
            correlation: None,
            publisher: Publisher::default(),
            replay: None,
            arrival: None,
        }
    }

    fn search(text: &str, tenant: Option<&str>) -> LiveSearch {
        LiveSearch::read(text, tenant.map(|tenant| tenant.parse().unwrap())).unwrap()
    }

    #[test]
    fn a_search_selects_by_each_key_and_a_bound_tenant_holds() {
        let message = delivery("tenant/acme/device/pump-1/telemetry", "{}");
        let refusal = Refusal::new(Reason::TokenInvalid, "wrong");
        let refused = DecidedMessage::new(&message, LiveOutcome::Refused, Some(&refusal));
        let odd = delivery("odd", "{}");
        let bad = Refusal::new(Reason::BadTopicFormat, "odd");
        let no_topic = DecidedMessage::new(&odd, LiveOutcome::Refused, Some(&bad));
        for (text, tenant, expected) in [
            ("", None, [true, true]),
            ("tenant:acme", None, [true, false]),
            ("tenant:zeta tenant:acme pump-*", None, [true, false]),
            ("-tenant:acme", None, [false, true]),
            ("-pump-1", None, [false, true]),
            ("type:telemetry outcome:refused", None, [true, false]),
            ("outcome:accepted", None, [false, false]),
            ("reason:token_invalid", None, [true, false]),
            ("-reason:TOKEN_INVALID", None, [false, true]),
            ("topic:tenant/acme/*", None, [true, false]),
            ("topic:odd", None, [false, true]),
            ("", Some("acme"), [true, false]),
            ("", Some("zeta"), [false, false]),
            ("tenant:zeta", Some("acme"), [false, false]),
            ("-tenant:zeta", Some("zeta"), [false, false]),
        ] {
            let found = [&refused, &no_topic].map(|one| search(text, tenant).selects(one));
            assert_eq!(found, expected, "{text} {tenant:?}");
        }
    }

    #[test]
    fn a_line_is_short_and_has_no_token() {
        let long = "é".repeat(1_000);
        let payload = format!(r#"{{"provision_token":"s3cret","x":"{long}"}}"#);
        let message = delivery(&format!("tenant/acme/device/{long}"), &payload);
        let line = DecidedMessage::new(&message, LiveOutcome::Accepted, None).line();
        assert!(line.payload.contains("[redacted]") && !line.payload.contains("s3cret"));
        assert!(line.payload_cut && line.payload.chars().count() == PAYLOAD_CHARS);
        assert_eq!((line.bytes, line.topic.chars().count()), (payload.len(), TEXT_CHARS));
        let short = delivery("tenant/acme/device/pump-1/telemetry", "{}");
        let line = DecidedMessage::new(&short, LiveOutcome::Accepted, None).line();
        assert!(!line.payload_cut && line.payload == "{}");
        assert_eq!(line.tenant_id.as_deref(), Some("acme"));
    }
}
