//! Which device a message of another broker belongs to: the first ingest rule whose filter matches its
//! topic names tenant, device and type.
//!
//! It guesses nothing: a topic without a rule, or a name that no device may have, is a fault that names
//! the topic.

use crate::domain::topic::{Topic, TopicError};
use crate::link::settings::{IngestName, IngestNamePart, IngestRule};

/// Longest topic that a fault quotes, in characters.
const QUOTED: usize = 200;

/// The local topic of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address<'r> {
    /// `tenant/<t>/device/<d>/<type>`.
    pub topic: String,
    /// The rule.
    pub rule: &'r IngestRule,
}

/// Why a topic has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressFault {
    /// The topic is not UTF-8.
    #[error("the topic is not UTF-8")]
    NotUtf8,
    /// No rule matches.
    #[error("no ingest rule matches the topic {0}")]
    NoRule(String),
    /// The rule names a level that the topic does not have.
    #[error("the topic {topic} has no level {level}, which the ingest rule of {filter} names")]
    NoLevel {
        /// The topic.
        topic: String,
        /// The level.
        level: usize,
        /// The filter of the rule.
        filter: String,
    },
    /// The rule gives no valid local topic.
    #[error("the topic {topic} gives {local}: {error}")]
    Invalid {
        /// The topic.
        topic: String,
        /// What the rule makes of it.
        local: String,
        /// What is wrong with that.
        error: TopicError,
    },
}

/// Finds the address of a topic.
pub(crate) fn address<'r>(
    rules: &'r [IngestRule],
    topic: &[u8],
) -> Result<Address<'r>, AddressFault> {
    let topic = std::str::from_utf8(topic).map_err(|_| AddressFault::NotUtf8)?;
    let rule = rules.iter().find(|rule| matches(&rule.filter, topic));
    let rule = rule.ok_or_else(|| AddressFault::NoRule(quoted(topic)))?;
    let levels: Vec<&str> = topic.split('/').collect();
    let name = |name: &IngestName| {
        render(name, &levels).map_err(|level| AddressFault::NoLevel {
            topic: quoted(topic),
            level,
            filter: rule.filter.clone(),
        })
    };
    let (tenant, device, msg_type) =
        (name(&rule.tenant)?, name(&rule.device)?, name(&rule.msg_type)?);
    let local = format!("tenant/{tenant}/device/{device}/{msg_type}");
    match check(&local, [&tenant, &device]) {
        Ok(()) => Ok(Address { topic: local, rule }),
        Err(error) => {
            Err(AddressFault::Invalid { topic: quoted(topic), local: quoted(&local), error })
        }
    }
}

/// The filter of a rule as it is compared with a topic: without the name of a share group.
pub(crate) fn plain_filter(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

// === private helpers ===

/// Whether a subscription to `filter` delivers `topic`.
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let mut wanted = plain_filter(filter).split('/');
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(name), Some(level)) if name == level => {}
            _ => return false,
        }
    }
}

/// The name, or the number of the level that the topic does not have.
fn render(name: &IngestName, levels: &[&str]) -> Result<String, usize> {
    let mut text = String::new();
    for part in &name.0 {
        text.push_str(match part {
            IngestNamePart::Text(text) => text,
            IngestNamePart::Level(level) => {
                level.checked_sub(1).and_then(|at| levels.get(at)).ok_or(*level)?
            }
        });
    }
    Ok(text)
}

/// A `/` in a name would move the names behind it.
fn check(local: &str, names: [&str; 2]) -> Result<(), TopicError> {
    if names.iter().any(|name| name.contains('/')) {
        return Err(TopicError::Shape);
    }
    Topic::parse(local.as_bytes()).map(|_| ())
}

fn quoted(topic: &str) -> String {
    let mut text: String =
        topic.chars().take(QUOTED).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.len() < topic.len() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::TopicError;

    fn name(text: &str) -> IngestName {
        let part = |text: &str| match text.parse() {
            Ok(level) => IngestNamePart::Level(level),
            Err(_) => IngestNamePart::Text(text.to_owned()),
        };
        IngestName(text.split(['{', '}']).filter(|text| !text.is_empty()).map(part).collect())
    }

    fn rule(filter: &str, tenant: &str, device: &str, msg_type: &str) -> IngestRule {
        IngestRule {
            filter: filter.to_owned(),
            tenant: name(tenant),
            device: name(device),
            msg_type: name(msg_type),
            lenient: false,
        }
    }

    fn local(rules: &[IngestRule], topic: &str) -> Result<String, AddressFault> {
        address(rules, topic.as_bytes()).map(|address| address.topic)
    }

    #[test]
    fn a_filter_matches_as_a_subscription_does() {
        for (filter, topic, is_match) in [
            ("devices/+/messages/events", "devices/a/messages/events", true),
            ("devices/+/messages/events", "devices/a/messages/events/x", false),
            ("devices/+/messages/events", "devices/a/messages", false),
            ("devices/#", "devices/a/b", true),
            ("devices/#", "devices", true),
            ("#", "a", true),
            ("+/+", "/a", true),
            ("+", "/a", false),
            ("$share/g/devices/+", "devices/a", true),
            ("$share/g/devices/+", "g/devices/a", false),
        ] {
            assert_eq!(matches(filter, topic), is_match, "{filter} {topic}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_names_the_device() {
        let rules = [
            rule("a/+/t", "acme", "{2}", "telemetry"),
            rule("a/#", "acme", "x-{2}-{3}", "telemetry/{1}"),
        ];
        assert_eq!(local(&rules, "a/p1/t").unwrap(), "tenant/acme/device/p1/telemetry");
        assert_eq!(local(&rules, "a/p1/u").unwrap(), "tenant/acme/device/x-p1-u/telemetry/a");
    }

    #[test]
    fn a_topic_without_an_address_is_named() {
        let rules = [rule("a/#", "{2}", "{3}", "telemetry")];
        let fault = |topic| local(&rules, topic).unwrap_err();
        assert_eq!(fault("b"), AddressFault::NoRule("b".into()));
        assert!(fault("a/t").to_string().contains("a/t has no level 3"), "{}", fault("a/t"));
        for topic in ["a/t/", "a//d", "a/t t/d", "a/\u{e9}/d"] {
            let text = fault(topic).to_string();
            assert!(text.starts_with(&format!("the topic {topic} gives tenant/")), "{text}");
        }
        assert_eq!(address(&rules, b"a/\xff").unwrap_err(), AddressFault::NotUtf8);
    }

    #[test]
    fn a_separator_in_a_name_moves_no_other_name() {
        let rules = [rule("#", "acme/device/victim", "{1}", "telemetry")];
        let fault = local(&rules, "d").unwrap_err();
        assert!(matches!(fault, AddressFault::Invalid { error: TopicError::Shape, .. }), "{fault}");
    }

    #[test]
    fn a_quoted_topic_is_short_and_has_no_control_character() {
        let text = quoted(&format!("a\n{}", "x".repeat(300)));
        assert!(text.starts_with("a\u{fffd}x") && text.ends_with("..."), "{text}");
    }
}
