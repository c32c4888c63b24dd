//! Which accepted messages go over which link, under which topic.
//!
//! Pure: the same message and plan always give the same rows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::ids::DeviceKey;
use super::link::{ForwardMode, LinkName};

/// The links that messages are forwarded to. An empty plan costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardPlan {
    /// The links, each with its rules.
    pub links: Vec<LinkRoutes>,
}

/// The rules of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRoutes {
    /// The link.
    pub link: LinkName,
    /// Its number of lanes, at least 1.
    pub lanes: u16,
    /// The most payload bytes that may wait for it; beyond that a gap begins.
    pub backlog_max_bytes: u64,
    /// Its rules. The first one that matches decides.
    pub rules: Vec<ForwardRule>,
}

/// One rule: local topics, and the topic at the other broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRule {
    /// Levels of the filter of local topics, `+` and `#` among them.
    pub from: Vec<Box<str>>,
    /// The topic at the other broker.
    pub to: TopicTemplate,
    /// How the message is encoded.
    pub mode: ForwardMode,
}

/// A topic with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(Arc<[TemplatePart]>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it is.
    Text(Box<str>),
    /// `{tenant}`.
    Tenant,
    /// `{device}`.
    Device,
    /// `{type}`: the path of the local topic after the device.
    MessageType,
}

/// A template has an unknown placeholder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{{{0}}} is no placeholder: use {{tenant}}, {{device}} or {{type}}")]
pub struct UnknownPlaceholder(pub String);

// === impl LinkRoutes ===

impl LinkRoutes {
    /// The rule for a message of this local topic.
    pub fn rule_for(&self, device: &DeviceKey, msg_type: &str) -> Option<&ForwardRule> {
        self.rules.iter().find(|rule| rule.matches(device, msg_type))
    }

    /// The lane of a device.
    pub fn lane_of(&self, device: &DeviceKey) -> i16 {
        if self.lanes <= 1 {
            return 0;
        }
        let mut hasher = Xxh3::new();
        device.tenant().hash(&mut hasher);
        device.device().hash(&mut hasher);
        i16::try_from(hasher.finish() % u64::from(self.lanes)).unwrap_or(0)
    }
}

// === impl ForwardRule ===

impl ForwardRule {
    /// Whether the filter matches `tenant/<tenant>/device/<device>/<type>`.
    pub fn matches(&self, device: &DeviceKey, msg_type: &str) -> bool {
        let levels = ["tenant", device.tenant(), "device", device.device()];
        let mut levels = levels.into_iter().chain(msg_type.split('/'));
        let mut filter = self.from.iter().map(|level| &**level);
        loop {
            match (filter.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }
}

// === impl TopicTemplate ===

impl TopicTemplate {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, UnknownPlaceholder> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.into()));
            }
            parts.push(match name {
                "tenant" => TemplatePart::Tenant,
                "device" => TemplatePart::Device,
                "type" => TemplatePart::MessageType,
                other => return Err(UnknownPlaceholder(other.to_owned())),
            });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.into()));
        }
        Ok(Self(parts.into()))
    }

    /// The topic of a message.
    pub fn render(&self, device: &DeviceKey, msg_type: &str) -> String {
        let mut topic = String::with_capacity(64);
        for part in self.0.iter() {
            topic.push_str(match part {
                TemplatePart::Text(text) => text,
                TemplatePart::Tenant => device.tenant(),
                TemplatePart::Device => device.device(),
                TemplatePart::MessageType => msg_type,
            });
        }
        topic
    }

    /// Its pieces.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceKey {
        "acme/device/pump-1".parse().unwrap()
    }

    fn rule(from: &str) -> ForwardRule {
        let to = TopicTemplate::parse("devices/{device}/messages/events").unwrap();
        let from = from.split('/').map(Box::from).collect();
        ForwardRule { from, to, mode: ForwardMode::Binary }
    }

    #[test]
    fn a_rule_matches_as_a_subscription_would() {
        for (from, matches) in [
            ("tenant/+/device/+/telemetry", true),
            ("tenant/acme/device/pump-1/telemetry", true),
            ("tenant/+/device/+/#", true),
            ("tenant/+/device/+/telemetry/#", true),
            ("#", true),
            ("tenant/other/device/+/telemetry", false),
            ("tenant/+/device/+", false),
            ("tenant/+/device/+/telemetry/+", false),
        ] {
            assert_eq!(rule(from).matches(&device(), "telemetry"), matches, "{from}");
        }
        assert!(rule("tenant/+/device/+/telemetry/+").matches(&device(), "telemetry/engine"));
    }

    #[test]
    fn a_template_names_tenant_device_and_type() {
        let render =
            |text| TopicTemplate::parse(text).map(|to| to.render(&device(), "telemetry/a"));
        assert_eq!(render("up/{tenant}/{device}/{type}").unwrap(), "up/acme/pump-1/telemetry/a");
        assert_eq!(render("fixed").unwrap(), "fixed");
        assert_eq!(render("a/{site}").unwrap_err(), UnknownPlaceholder("site".into()));
        assert_eq!(render("a/{tenant/x").unwrap_err(), UnknownPlaceholder("tenant/x".into()));
    }

    #[test]
    fn a_device_keeps_its_lane_and_devices_spread_over_the_lanes() {
        let routes = LinkRoutes {
            link: "a".parse().unwrap(),
            lanes: 4,
            backlog_max_bytes: 0,
            rules: Vec::new(),
        };
        let lane = |n: u32| routes.lane_of(&format!("t/device/d{n}").parse().unwrap());
        let lanes: std::collections::HashSet<_> = (0..100).map(lane).collect();
        assert_eq!(lanes, (0..4).collect());
        assert_eq!(lane(7), lane(7));
    }
}
