//! Who sends a request, by its topic, and where the response goes.
//!
//! The broker's access rules bind the last level of a topic to a login. A Response Topic outside the
//! sender's own topics is not used: Mosquitto passes on any Response Topic.

use crate::config::sections::mqtt_api::OperatorsConfig;
use crate::domain::caller::NamedCaller;
use crate::domain::exchange::{MAX_RESPONSE_TOPIC, PublishTopic};

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicCaller<'a> {
    /// A client on the shared topic.
    Shared,
    /// A caller of the settings.
    Named(&'a NamedCaller),
    /// A caller that the settings do not name.
    Stranger(&'a str),
}

/// Whose part of what all callers share it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallerShare {
    /// That of all clients on the shared topic.
    Shared,
    /// That of a caller of the settings.
    Named(String),
    /// That of all callers that the settings do not name.
    Strangers,
}

/// A sender and the topic of its responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CoaSender<'a> {
    pub caller: TopicCaller<'a>,
    pub responses: PublishTopic,
}

// === impl TopicCaller ===

impl<'a> TopicCaller<'a> {
    /// Its name, if its topic has one.
    pub(super) fn name(self) -> Option<&'a str> {
        match self {
            Self::Shared => None,
            Self::Named(caller) => Some(&caller.name),
            Self::Stranger(name) => Some(name),
        }
    }

    /// Its share: names that the settings do not have cannot make the number of shares grow.
    pub(super) fn share(self) -> CallerShare {
        match self {
            Self::Shared => CallerShare::Shared,
            Self::Named(caller) => CallerShare::Named(caller.name.clone()),
            Self::Stranger(_) => CallerShare::Strangers,
        }
    }
}

// === impl CoaSender ===

impl<'a> CoaSender<'a> {
    /// The sender of a request on this topic; `None` if it is no request topic.
    pub(super) fn of_topic(config: &'a OperatorsConfig, topic: &'a [u8]) -> Option<Self> {
        let topic = std::str::from_utf8(topic).ok()?;
        if let Some(shared) = config.shared.as_ref().filter(|shared| shared.request == topic) {
            return Some(Self { caller: TopicCaller::Shared, responses: shared.response.clone() });
        }
        let name = topic.strip_prefix(config.prefix.as_str())?.strip_prefix("/request/")?;
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let named = config.callers.iter().find(|caller| caller.name == name);
        let caller = named.map_or(TopicCaller::Stranger(name), TopicCaller::Named);
        let responses = PublishTopic::new(format!("{}/response/{name}", config.prefix)).ok()?;
        Some(Self { caller, responses })
    }

    /// The topic that a request names for its response, if its sender may name it.
    pub(super) fn response_topic(
        &self,
        config: &OperatorsConfig,
        named: &[u8],
    ) -> Option<PublishTopic> {
        let named =
            std::str::from_utf8(named).ok().filter(|text| text.len() <= MAX_RESPONSE_TOPIC)?;
        let topic = PublishTopic::new(named).ok()?;
        let is_shared = config.shared.as_ref().is_some_and(|shared| shared.response == topic);
        let own = self.responses.as_str();
        let is_below = || named.strip_prefix(own).is_some_and(|rest| rest.starts_with('/'));
        let is_own = named == own || (self.caller.name().is_some() && is_below());
        (is_own || is_shared).then_some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::mqtt_api::SharedTopics;
    use crate::domain::caller::parse_callers;

    fn config() -> OperatorsConfig {
        OperatorsConfig {
            shared: Some(SharedTopics {
                request: "coa-request".into(),
                response: PublishTopic::new("coa-response").unwrap(),
            }),
            prefix: "symphony".into(),
            callers: parse_callers("ops=admin").unwrap(),
            secrets: false,
        }
    }

    #[test]
    fn the_topic_names_the_sender_and_its_responses() {
        let config = config();
        for (topic, expected) in [
            ("coa-request", Some((None, "coa-response"))),
            ("symphony/request/ops", Some((Some("ops"), "symphony/response/ops"))),
            ("symphony/request/else", Some((Some("else"), "symphony/response/else"))),
            ("symphony/request/", None),
            ("symphony/request/a/b", None),
            ("symphony/response/ops", None),
            ("coa-response", None),
            ("coa-request/x", None),
        ] {
            let sender = CoaSender::of_topic(&config, topic.as_bytes());
            let found = sender.as_ref().map(|it| (it.caller.name(), it.responses.as_str()));
            assert_eq!(found, expected, "{topic}");
        }
        let is_named = |topic: &str| {
            let sender = CoaSender::of_topic(&config, topic.as_bytes()).unwrap();
            matches!(sender.caller, TopicCaller::Named(_))
        };
        assert!(is_named("symphony/request/ops"));
        assert!(!is_named("symphony/request/OPS"));
    }

    #[test]
    fn a_response_goes_only_to_topics_of_its_sender() {
        let config = config();
        let (ops, shared) = ("symphony/request/ops", "coa-request");
        let long = format!("symphony/response/ops/{}", "x".repeat(256));
        for (from, named, expected) in [
            (ops, "symphony/response/ops", true),
            (ops, "symphony/response/ops/7", true),
            (ops, "coa-response", true),
            (ops, "symphony/response/opsi", false),
            (ops, "symphony/response/dash", false),
            (ops, "symphony/response/ops/+", false),
            (ops, "symphony/response/ops/#", false),
            (ops, "symphony/request/ops", false),
            (ops, "$SYS/a", false),
            (ops, "", false),
            (ops, "tenant/acme/device/pump-1/commands", false),
            (ops, &long, false),
            (shared, "coa-response", true),
            (shared, "coa-response/7", false),
            (shared, "symphony/response/ops", false),
        ] {
            let sender = CoaSender::of_topic(&config, from.as_bytes()).unwrap();
            let used = sender.response_topic(&config, named.as_bytes());
            assert_eq!(used.is_some(), expected, "{from} {named}");
        }
        let sender = CoaSender::of_topic(&config, ops.as_bytes()).unwrap();
        assert_eq!(sender.response_topic(&config, b"symphony/response/ops/\xff"), None);
    }
}
