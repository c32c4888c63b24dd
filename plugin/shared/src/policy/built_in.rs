//! The topics that need no policy file: a device's own topics, and the guests' topics.
//!
//! A deny rule of the file can close them. No allow rule opens other topics to a guest.

use super::filter::TopicFilter;
use super::pattern::{Pattern, Values};
use super::rule::Action;
use crate::subject::{Subject, SubjectKind};

/// The prefix of a guest's client id.
pub const GUEST_CLIENT_ID: &str = "public-";

/// The topics a device may publish to; compose/mosquitto/acl.conf has the same lines.
const DEVICE_PUBLISHES: [&str; 7] = [
    "tenant/{tenant}/device/{device}/telemetry/#",
    "tenant/{tenant}/device/{device}/heartbeat",
    "tenant/{tenant}/device/{device}/event",
    "tenant/{tenant}/device/{device}/status",
    "tenant/{tenant}/device/{device}/shadow/reported",
    "tenant/{tenant}/device/{device}/commands/ack",
    "tenant/{tenant}/device/{device}/request/#",
];

/// The topics a device may read and subscribe to; compose/mosquitto/acl.conf has the same lines.
const DEVICE_RECEIVES: [&str; 6] = [
    "tenant/{tenant}/device/{device}/shadow/desired",
    "tenant/{tenant}/device/{device}/commands/#",
    "tenant/{tenant}/device/{device}/jobs/#",
    "tenant/{tenant}/device/{device}/errors/#",
    "tenant/{tenant}/device/{device}/response/#",
    "tenant/{tenant}/device/{device}/notices/#",
];

/// A guest publishes below `public/`. Its subscription to `public/#` matches `public` itself too.
const GUEST_PUBLISHES: [&str; 1] = ["public/+/#"];
const GUEST_RECEIVES: [&str; 1] = ["public/#"];

/// The parsed built-in patterns.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    device_publishes: Vec<Pattern>,
    device_receives: Vec<Pattern>,
    guest_publishes: Vec<Pattern>,
    guest_receives: Vec<Pattern>,
}

/// Why a guest is refused whatever the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// The client id lacks the prefix of guests.
    #[error("the client id of a guest begins with {GUEST_CLIENT_ID}")]
    ClientId,
    /// A shared subscription, which would take messages from the other members of its group.
    #[error("a guest may not use a shared subscription")]
    Shared,
}

// === impl BuiltIn ===

impl Default for BuiltIn {
    fn default() -> Self {
        Self {
            device_publishes: patterns(&DEVICE_PUBLISHES),
            device_receives: patterns(&DEVICE_RECEIVES),
            guest_publishes: patterns(&GUEST_PUBLISHES),
            guest_receives: patterns(&GUEST_RECEIVES),
        }
    }
}

impl BuiltIn {
    /// The built-in patterns of this kind of subject for `action`.
    pub fn of(&self, kind: &SubjectKind, action: Action) -> &[Pattern] {
        match (kind, action) {
            (SubjectKind::Device(_), Action::Publish) => &self.device_publishes,
            (SubjectKind::Device(_), Action::Read | Action::Subscribe) => &self.device_receives,
            (SubjectKind::Guest, Action::Publish) => &self.guest_publishes,
            (SubjectKind::Guest, Action::Read | Action::Subscribe) => &self.guest_receives,
            (SubjectKind::Service | SubjectKind::User, _) => &[],
        }
    }

    /// Whether one built-in pattern covers the requested topics.
    pub fn covers(
        &self,
        subject: &Subject,
        action: Action,
        requested: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        self.of(&subject.kind, action).iter().any(|pattern| pattern.covers(requested, values))
    }

    /// Each action of a device with each pattern of its own topics.
    pub fn of_devices(&self) -> impl Iterator<Item = (Action, &Pattern)> {
        let publishes = self.device_publishes.iter().map(|pattern| (Action::Publish, pattern));
        let receives = [Action::Read, Action::Subscribe].into_iter();
        publishes.chain(
            receives.flat_map(|action| {
                self.device_receives.iter().map(move |pattern| (action, pattern))
            }),
        )
    }
}

/// Refuses the requests that no guest may make, whatever the topic.
pub fn check_guest(client_id: &str, requested: &TopicFilter<'_>) -> Result<(), GuestError> {
    if !client_id.starts_with(GUEST_CLIENT_ID) {
        return Err(GuestError::ClientId);
    }
    if requested.is_shared() { Err(GuestError::Shared) } else { Ok(()) }
}

#[expect(
    clippy::expect_used,
    reason = "constants of this file: each test that makes a policy parses them all"
)]
fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).expect("a built-in pattern")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_topics_that_the_shipped_acl_file_gives_it() {
        let shipped = include_str!("../../../../compose/mosquitto/acl.conf");
        let lines = |start: &str| -> Vec<String> {
            let topics = shipped
                .lines()
                .filter_map(|line| line.strip_prefix(start)?.strip_prefix("tenant/%u/"));
            topics.map(|rest| format!("tenant/{{tenant}}/device/{{device}}/{rest}")).collect()
        };
        assert_eq!(lines("pattern write "), DEVICE_PUBLISHES);
        assert_eq!(lines("pattern read "), DEVICE_RECEIVES);
    }
}
