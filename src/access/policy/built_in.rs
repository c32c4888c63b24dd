//! What holds without a policy file, and ahead of it: a device's own topics, and the corner of the guests.
//!
//! No rule of a file opens more to a guest; one may deny any of it.

use super::filter::TopicFilter;
use super::pattern::{Pattern, Values};
use super::rule::Action;
use crate::access::hooks::subject::{Subject, SubjectKind};

/// How the client id of a guest begins.
pub const GUEST_CLIENT_ID: &str = "public-";

/// What a device may say; compose/mosquitto/acl.conf has the same lines.
const DEVICE_SAYS: [&str; 6] = [
    "tenant/{tenant}/device/{device}/telemetry/#",
    "tenant/{tenant}/device/{device}/heartbeat",
    "tenant/{tenant}/device/{device}/event",
    "tenant/{tenant}/device/{device}/status",
    "tenant/{tenant}/device/{device}/shadow/reported",
    "tenant/{tenant}/device/{device}/commands/ack",
];

/// What a device may hear; likewise.
const DEVICE_HEARS: [&str; 4] = [
    "tenant/{tenant}/device/{device}/shadow/desired",
    "tenant/{tenant}/device/{device}/commands/#",
    "tenant/{tenant}/device/{device}/jobs/#",
    "tenant/{tenant}/device/{device}/errors/#",
];

/// A guest publishes below `public/`; its subscription of `public/#` matches `public` itself too.
const GUEST_SAYS: [&str; 1] = ["public/+/#"];
const GUEST_HEARS: [&str; 1] = ["public/#"];

/// The patterns that are always there.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    device_says: Vec<Pattern>,
    device_hears: Vec<Pattern>,
    guest_says: Vec<Pattern>,
    guest_hears: Vec<Pattern>,
}

/// Why a guest is refused before any topic is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// Another client id.
    #[error("the client id of a guest begins with {GUEST_CLIENT_ID}")]
    ClientId,
    /// A shared subscription, which would take messages away from the others of its group.
    #[error("a guest has no shared subscriptions")]
    Shared,
}

// === impl BuiltIn ===

impl BuiltIn {
    pub(super) fn new() -> Self {
        Self {
            device_says: patterns(&DEVICE_SAYS),
            device_hears: patterns(&DEVICE_HEARS),
            guest_says: patterns(&GUEST_SAYS),
            guest_hears: patterns(&GUEST_HEARS),
        }
    }

    /// What is open to this kind of subject.
    pub(super) fn of(&self, kind: &SubjectKind, action: Action) -> &[Pattern] {
        match (kind, action) {
            (SubjectKind::Device(_), Action::Publish) => &self.device_says,
            (SubjectKind::Device(_), Action::Read | Action::Subscribe) => &self.device_hears,
            (SubjectKind::Guest, Action::Publish) => &self.guest_says,
            (SubjectKind::Guest, Action::Read | Action::Subscribe) => &self.guest_hears,
            (SubjectKind::Service | SubjectKind::User, _) => &[],
        }
    }

    /// Whether it is open.
    pub(super) fn covers(
        &self,
        subject: &Subject,
        action: Action,
        asked: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        self.of(&subject.kind, action).iter().any(|pattern| pattern.covers(asked, values))
    }

    /// What devices may do with their own topics.
    pub(super) fn of_devices(&self) -> impl Iterator<Item = (Action, &Pattern)> {
        let says = self.device_says.iter().map(|pattern| (Action::Publish, pattern));
        let hears = [Action::Read, Action::Subscribe].into_iter();
        says.chain(hears.flat_map(|action| self.device_hears.iter().map(move |pattern| (action, pattern))))
    }
}

/// What no guest may do, whatever the topic.
pub(super) fn check_guest(client_id: &str, asked: &TopicFilter<'_>) -> Result<(), GuestError> {
    if !client_id.starts_with(GUEST_CLIENT_ID) {
        return Err(GuestError::ClientId);
    }
    if asked.is_shared() { Err(GuestError::Shared) } else { Ok(()) }
}

#[expect(clippy::expect_used, reason = "constants of this file: each test that makes a policy parses them all")]
fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).expect("a built-in pattern")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_the_topics_that_the_shipped_acl_file_gives_it() {
        let shipped = include_str!("../../../compose/mosquitto/acl.conf");
        let lines = |start: &str| -> Vec<String> {
            let topics = shipped.lines().filter_map(|line| line.strip_prefix(start)?.strip_prefix("tenant/%u/"));
            topics.map(|rest| format!("tenant/{{tenant}}/device/{{device}}/{rest}")).collect()
        };
        assert_eq!(lines("pattern write "), DEVICE_SAYS);
        assert_eq!(lines("pattern read "), DEVICE_HEARS);
    }
}
