//! The topics on which Sluice publishes to one device, and the access rules that they need. The one
//! place that builds them.
//!
//! Names are checked when a [`DeviceKey`] is made, so a topic of this file needs no further check.

use super::exchange::PublishTopic;
use super::ids::DeviceKey;

/// Filter of all responses to devices.
pub const ALL_RESPONSES: &str = "tenant/+/device/+/response/#";
/// Filter of all commands to devices.
pub const ALL_COMMANDS: &str = "tenant/+/device/+/commands";
/// Filter of all desired documents.
pub const ALL_DESIRED: &str = "tenant/+/device/+/shadow/desired";
/// Filter of all messages about refused messages.
pub const ALL_ERRORS: &str = "tenant/+/device/+/errors";
/// Filter of all notices.
pub const ALL_NOTICES: &str = "tenant/+/device/+/notices/#";
/// Filter of all requests of devices.
pub const ALL_REQUESTS: &str = "tenant/+/device/+/request/#";
/// Filter of what Sluice keeps at the broker for itself.
pub const OWN_MESSAGES: &str = "sluice/#";

/// Where Sluice retains the marker of its database: a broker without it has lost its retained
/// messages.
pub const MARKER: &str = "sluice/outbox";

/// The topics of one device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTopics<'a>(&'a DeviceKey);

/// Which of the two response topics of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// The request was carried out.
    Accepted,
    /// It was not.
    Rejected,
}

/// The topic of the marker.
pub fn marker() -> PublishTopic {
    PublishTopic::of_valid(MARKER.to_owned())
}

// === impl DeviceTopics ===

impl<'a> DeviceTopics<'a> {
    /// The topics of this device.
    pub const fn of(device: &'a DeviceKey) -> Self {
        Self(device)
    }

    /// Commands.
    pub fn commands(self) -> PublishTopic {
        self.below("commands")
    }

    /// Where the device acknowledges commands: the Response Topic of a command.
    pub fn command_ack(self) -> PublishTopic {
        self.below("commands/ack")
    }

    /// The desired document.
    pub fn shadow_desired(self) -> PublishTopic {
        self.below("shadow/desired")
    }

    /// Messages about refused messages.
    pub fn errors(self) -> PublishTopic {
        self.below("errors")
    }

    /// The notice of a certificate that ends.
    pub fn notice_certificate(self) -> PublishTopic {
        self.below("notices/certificate")
    }

    /// Where the device sends requests of this route.
    pub fn request(self, route: &'static str) -> PublishTopic {
        self.below(&format!("request/{route}"))
    }

    /// Where the response to a request of this route goes, unless the request names a topic.
    pub fn response(self, route: &'static str, kind: ResponseKind) -> PublishTopic {
        let kind = match kind {
            ResponseKind::Accepted => "accepted",
            ResponseKind::Rejected => "rejected",
        };
        self.below(&format!("response/{route}/{kind}"))
    }

    /// Whether this topic is below the device's own `response/`.
    pub fn owns_response(self, topic: &PublishTopic) -> bool {
        topic
            .as_str()
            .strip_prefix("tenant/")
            .and_then(|rest| rest.strip_prefix(self.0.identity()))
            .and_then(|rest| rest.strip_prefix("/response/"))
            .is_some_and(|rest| !rest.is_empty())
    }

    fn below(self, path: &str) -> PublishTopic {
        PublishTopic::of_valid(format!("tenant/{}/{path}", self.0.identity()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic::{MessageKind, Topic};

    fn device() -> DeviceKey {
        DeviceKey::new("acme", "pump-1").unwrap()
    }

    #[test]
    fn each_topic_is_one_that_the_spine_ignores_and_a_publish_may_have() {
        let device = device();
        let topics = DeviceTopics::of(&device);
        let response = topics.response("certificate/renew", ResponseKind::Accepted);
        assert_eq!(
            response.as_str(),
            "tenant/acme/device/pump-1/response/certificate/renew/accepted"
        );
        for topic in [
            topics.commands(),
            topics.shadow_desired(),
            topics.errors(),
            topics.notice_certificate(),
            topics.request("time"),
            response,
            topics.response("time", ResponseKind::Rejected),
        ] {
            let parsed = Topic::parse(topic.as_str().as_bytes()).unwrap();
            assert_eq!(parsed.kind, MessageKind::Platform, "{topic}");
            assert_eq!(PublishTopic::new(topic.as_str()).as_ref(), Ok(&topic));
        }
        assert_eq!(PublishTopic::new(marker().as_str()), Ok(marker()));
        let ack = topics.command_ack();
        let parsed = Topic::parse(ack.as_str().as_bytes()).unwrap();
        assert_eq!(parsed.kind, MessageKind::CommandAck);
    }

    #[test]
    fn only_topics_below_its_own_response_are_the_devices() {
        let device = device();
        let owns =
            |text: &str| DeviceTopics::of(&device).owns_response(&PublishTopic::new(text).unwrap());
        assert!(owns("tenant/acme/device/pump-1/response/9"));
        assert!(owns("tenant/acme/device/pump-1/response/time/accepted"));
        for foreign in [
            "tenant/acme/device/pump-1/response",
            "tenant/acme/device/pump-1/response/",
            "tenant/acme/device/pump-1/responses/9",
            "tenant/acme/device/pump-12/response/9",
            "tenant/acme/device/pump-2/response/9",
            "tenant/acme/device/pump-1/commands/ack",
            "coa-response",
        ] {
            assert!(!owns(foreign), "{foreign}");
        }
    }
}
