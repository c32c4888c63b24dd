//! The topics that Sluice must be able to publish to, and the access rule of each.
//!
//! It tries nothing itself: the exchange and `sluice doctor` do.

use crate::config::sections::mqtt_api::MqttApiConfig;
use crate::domain::device_topics::{
    ALL_COMMANDS, ALL_DESIRED, ALL_ERRORS, ALL_NOTICES, ALL_RESPONSES, OWN_MESSAGES,
};
use crate::domain::exchange::PublishTopic;
use crate::domain::probe::OWN_WRITES;

/// Below Sluice's own topics; the message is empty.
const OWN_TRY: &str = "sluice/probe";

/// Topics to which Sluice publishes, as one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededWrite {
    /// The filter.
    pub filter: String,
    /// A topic of the filter where an empty message harms nobody; `None` if there is none.
    pub try_topic: Option<PublishTopic>,
    /// Whether an enabled API needs it from the start.
    pub is_required: bool,
    /// Whether Sluice reads these topics too.
    pub is_read: bool,
    /// Whether a request names the topic, so that a refusal of one topic says nothing of the others.
    pub is_named_by_requests: bool,
}

/// All writes of a daemon with these settings.
pub fn of(config: &MqttApiConfig) -> Vec<NeededWrite> {
    let mut writes = to_devices();
    for write in &mut writes {
        write.is_required = config.device_api;
    }
    for filter in config.operators.response_filters() {
        writes.push(NeededWrite { is_required: true, ..NeededWrite::to_callers(&filter) });
    }
    writes
}

/// The caller to whom the exchange tries to respond; no caller has this name.
const OWN_CALLER: &str = "$sluice";

/// What Sluice publishes to devices, and what it keeps at the broker for itself.
pub fn to_devices() -> Vec<NeededWrite> {
    let filters = [ALL_RESPONSES, ALL_COMMANDS, ALL_DESIRED, ALL_ERRORS, ALL_NOTICES];
    let tried = filters.iter().zip(OWN_WRITES);
    let mut writes: Vec<_> =
        tried.map(|(filter, topic)| NeededWrite::tried(filter, topic)).collect();
    for write in &mut writes {
        write.is_named_by_requests = write.filter == ALL_RESPONSES;
    }
    writes.push(NeededWrite { is_read: true, ..NeededWrite::tried(OWN_MESSAGES, OWN_TRY) });
    writes
}

// === impl NeededWrite ===

impl NeededWrite {
    /// A filter that is tried with an empty message to `topic`.
    pub fn tried(filter: &str, topic: &str) -> Self {
        Self { try_topic: PublishTopic::new(topic).ok(), ..Self::untried(filter) }
    }

    /// A filter of responses to operators. A caller that waits on a topic of all callers would
    /// receive the try.
    pub fn to_callers(filter: &str) -> Self {
        match filter.strip_suffix('#') {
            Some(before) => {
                let tried = Self::tried(filter, &format!("{before}{OWN_CALLER}"));
                Self { is_named_by_requests: true, ..tried }
            }
            None => Self::untried(filter),
        }
    }

    /// A filter whose topics have subscribers that an empty message would confuse.
    pub fn untried(filter: &str) -> Self {
        Self {
            filter: filter.to_owned(),
            try_topic: None,
            is_required: false,
            is_read: false,
            is_named_by_requests: false,
        }
    }

    /// The line of Mosquitto's `acl_file` that permits it.
    pub fn line(&self) -> String {
        let right = if self.is_read { "readwrite" } else { "write" };
        format!("topic {right} {}", self.filter)
    }

    /// Whether a topic is one of these.
    pub fn covers(&self, topic: &PublishTopic) -> bool {
        let mut levels = topic.as_str().split('/');
        for wanted in self.filter.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_covers_its_own_try_and_names_its_line() {
        for write in to_devices() {
            assert!(write.covers(write.try_topic.as_ref().unwrap()), "{write:?}");
        }
        let lines: Vec<_> = to_devices().iter().map(NeededWrite::line).collect();
        assert_eq!(lines[0], "topic write tenant/+/device/+/response/#");
        assert_eq!(lines[5], "topic readwrite sluice/#");
    }

    #[test]
    fn responses_to_named_callers_are_tried_and_those_to_all_callers_are_not() {
        let named = NeededWrite::to_callers("symphony/response/#");
        assert_eq!(named.try_topic.unwrap().as_str(), "symphony/response/$sluice");
        assert_eq!(NeededWrite::to_callers("coa-response").try_topic, None);
    }

    #[test]
    fn a_filter_covers_the_topics_that_the_broker_would_deliver_for_it() {
        let covers = |filter: &str, topic: &str| {
            NeededWrite::untried(filter).covers(&PublishTopic::new(topic).unwrap())
        };
        assert!(covers("tenant/+/device/+/response/#", "tenant/a/device/b/response/time/accepted"));
        assert!(covers("a/#", "a"));
        assert!(covers("symphony/response/+", "symphony/response/ops"));
        assert!(!covers("symphony/response/+", "symphony/response/a/b"));
        assert!(!covers("tenant/+/device/+/commands", "tenant/a/device/b/commands/ack"));
        assert!(!covers("tenant/+/device/+/commands", "tenant/a/device/b"));
    }
}
