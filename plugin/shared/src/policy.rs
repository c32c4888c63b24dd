//! The policy: may this subject publish to, read or subscribe to these topics?
//!
//! Deny wins, and an action that no rule allows is denied. A subscription is allowed only if no
//! topic it can match is denied and every such topic is allowed, by one rule or by several
//! together. The order of the rules has no meaning.
//!
//! Read it in this order:
//!
//! 1. [`decision`] is an answer and what decided it;
//! 2. [`built_in`] holds the topics that need no file;
//! 3. [`rule`] is one rule with its [`effect`], [`pattern`] its topics, [`filter`] the topics of a
//!    request;
//! 4. [`document`] is a policy as the daemon sends it to the plugin.
//!
//! It keeps no state and reads no clock: callers check whether the proof of a subject has expired.

pub mod built_in;
pub mod decision;
pub mod document;
pub mod effect;
pub mod filter;
pub mod pattern;
#[cfg(test)]
mod pattern_tests;
pub mod rule;

use crate::subject::{Subject, SubjectKind};
use built_in::BuiltIn;
use decision::{Because, Decision};
use effect::Effect;
use filter::TopicFilter;
use pattern::Values;
use rule::{Action, Actions, Capabilities, PolicyRule};

/// The built-in topics and the rules of a policy file.
#[derive(Clone, Debug)]
pub struct Policy {
    built_in: BuiltIn,
    denies: Box<[PolicyRule]>,
    allows: Box<[PolicyRule]>,
    /// `None` means the file has no tables of permissions: its rules alone decide.
    capabilities: Option<Capabilities>,
}

/// One action of one subject on the requested topics.
struct AccessRequest<'a> {
    subject: &'a Subject,
    client_id: &'a str,
    action: Action,
    requested: TopicFilter<'a>,
    values: Values<'a>,
}

// === impl Policy ===

impl Policy {
    /// The policy that applies without a file.
    pub fn built_in() -> Self {
        Self::new(Vec::new(), None)
    }

    /// The policy with these `rules`.
    pub fn new(rules: Vec<PolicyRule>, capabilities: Option<Capabilities>) -> Self {
        let (denies, allows): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|rule| rule.effect == Effect::Deny);
        Self {
            built_in: BuiltIn::default(),
            denies: denies.into(),
            allows: allows.into(),
            capabilities,
        }
    }

    /// Decides one request of the broker. Every action in the bit mask `acc` must be allowed.
    pub fn decide(&self, subject: &Subject, client_id: &str, acc: u8, topic: &str) -> Decision<'_> {
        let Some(actions) = Actions::from_acc(acc) else {
            return Decision::denied(None, Because::UnknownAccess(acc));
        };
        // A published or delivered topic has no wildcards in MQTT; only a subscription has.
        let is_subscription = actions.has(Action::Subscribe) && !actions.has(Action::Publish);
        let requested = if is_subscription {
            TopicFilter::subscription(topic)
        } else {
            TopicFilter::topic(topic)
        };
        let requested = match requested {
            Ok(requested) => requested,
            Err(error) => {
                return Decision::denied(actions.iter().next(), Because::Malformed(error));
            }
        };
        let values = Values::of(subject, client_id);
        let mut decision = Decision::denied(None, Because::NoRule);
        for action in actions.iter() {
            decision =
                self.decide_one(&AccessRequest { subject, client_id, action, requested, values });
            if !decision.allowed {
                return decision;
            }
        }
        decision
    }

    /// Whether `subject` skips the topic checks of the broker. A device or a guest never does.
    pub fn is_superuser(&self, subject: &Subject) -> bool {
        let can_be = matches!(subject.kind, SubjectKind::Service | SubjectKind::User);
        can_be
            && self
                .capabilities
                .as_ref()
                .is_some_and(|capabilities| capabilities.of(subject).superuser)
    }

    /// Whether `subject`, authenticated by a login rather than by the request, may do what `decision`
    /// denies because it is a superuser: it needs no allow rule. A deny rule and a malformed request still
    /// deny.
    pub fn admits_superuser(&self, subject: &Subject, decision: &Decision<'_>) -> bool {
        matches!(decision.because, Because::NoRule | Because::NotCapable)
            && self.is_superuser(subject)
    }

    /// The deny rules, in file order.
    pub fn denies(&self) -> &[PolicyRule] {
        &self.denies
    }

    /// The allow rules, in file order.
    pub fn allows(&self) -> &[PolicyRule] {
        &self.allows
    }

    /// The permissions of groups, scopes and kinds.
    pub const fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    /// The topics that need no rule.
    pub const fn own_topics(&self) -> &BuiltIn {
        &self.built_in
    }

    fn decide_one(&self, request: &AccessRequest<'_>) -> Decision<'_> {
        let AccessRequest { subject, client_id, action, requested, values } = request;
        let denied = |because| Decision::denied(Some(*action), because);
        let is_guest = subject.kind == SubjectKind::Guest;
        if is_guest && let Err(error) = built_in::check_guest(client_id, requested) {
            return denied(Because::Guest(error));
        }
        if let Some(rule) =
            self.denies.iter().find(|rule| rule.overlaps(subject, *action, requested, values))
        {
            return denied(Because::Rule(rule));
        }
        if self.built_in.covers(subject, *action, requested, values) {
            let because = if is_guest { Because::GuestTopics } else { Because::OwnTopics };
            return Decision::allowed(*action, because);
        }
        if is_guest {
            return denied(Because::GuestTopic);
        }
        match self.allowed_by(request) {
            Some(because) if self.is_capable(subject, *action) => {
                Decision::allowed(*action, because)
            }
            Some(_) => denied(Because::NotCapable),
            None => denied(Because::NoRule),
        }
    }

    fn is_capable(&self, subject: &Subject, action: Action) -> bool {
        self.capabilities
            .as_ref()
            .is_none_or(|capabilities| capabilities.of(subject).actions.has(action))
    }

    fn allowed_by(&self, request: &AccessRequest<'_>) -> Option<Because<'_>> {
        let AccessRequest { subject, action, requested, values, .. } = request;
        if let Some(rule) =
            self.allows.iter().find(|rule| rule.covers(subject, *action, requested, values))
        {
            return Some(Because::Rule(rule));
        }
        if !requested.has_wildcards() {
            return None;
        }
        let applies =
            |rule: &&PolicyRule| rule.actions.has(*action) && rule.subjects.include(subject);
        let of_rules = self.allows.iter().filter(applies).flat_map(|rule| &rule.topics);
        let mut patterns =
            self.built_in.of(&subject.kind, *action).iter().chain(of_rules).collect();
        pattern::cover_together(&mut patterns, requested, values).then_some(Because::Together)
    }
}
