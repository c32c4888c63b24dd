//! The whole policy, and the answer to the broker's question: may this one do that with these topics?
//!
//! Deny wins, and what nothing allows is denied. A subscription is allowed only if every topic it could match is allowed,
//! by one rule or by several together, and none is denied. The order of the rules means nothing.
//! It keeps no state and reads no clock: whether the subject's proof has ended is for those who ask.

pub mod built_in;
pub mod decision;
pub mod effect;
pub mod file;
pub mod file_reader;
#[cfg(test)]
mod file_tests;
pub mod file_tree;
pub mod filter;
pub mod lint;
#[cfg(test)]
mod lint_tests;
#[cfg(test)]
mod oracle_tests;
pub mod pattern;
#[cfg(test)]
mod pattern_tests;
pub mod reloading;
pub mod rule;
#[cfg(test)]
mod tests;

use super::hooks::subject::{Subject, SubjectKind};
use built_in::BuiltIn;
use decision::{Because, Decision};
use effect::Effect;
use filter::TopicFilter;
use pattern::Values;
use rule::{Action, Actions, Capabilities, PolicyRule};

/// Who may do what with which topics.
#[derive(Clone, Debug)]
pub struct Policy {
    built_in: BuiltIn,
    denies: Box<[PolicyRule]>,
    allows: Box<[PolicyRule]>,
    /// None: the file has no tables of permissions, and its rules alone decide.
    capabilities: Option<Capabilities>,
}

/// One action that is asked for.
struct AccessRequest<'a> {
    subject: &'a Subject,
    client_id: &'a str,
    action: Action,
    asked: TopicFilter<'a>,
    values: Values<'a>,
}

// === impl Policy ===

impl Policy {
    /// What holds without a file.
    pub fn built_in() -> Self {
        Self::new(Vec::new(), None)
    }

    /// What holds with these rules.
    pub fn new(rules: Vec<PolicyRule>, capabilities: Option<Capabilities>) -> Self {
        let (denies, allows): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.effect == Effect::Deny);
        Self { built_in: BuiltIn::new(), denies: denies.into(), allows: allows.into(), capabilities }
    }

    /// The answer to the broker's question, and what decided it. Of several actions in `acc` every one must be allowed.
    pub fn decide(&self, subject: &Subject, client_id: &str, acc: u8, topic: &str) -> Decision<'_> {
        let Some(actions) = Actions::from_acc(acc) else {
            return Decision::denied(None, Because::UnknownAccess(acc));
        };
        // MQTT has no wildcards in what is published, and none in what is delivered.
        let is_subscription = actions.has(Action::Subscribe) && !actions.has(Action::Publish);
        let asked = if is_subscription { TopicFilter::subscription(topic) } else { TopicFilter::topic(topic) };
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => return Decision::denied(actions.iter().next(), Because::Malformed(error)),
        };
        let values = Values::of(subject, client_id);
        let mut decision = Decision::denied(None, Because::NoRule);
        for action in actions.iter() {
            decision = self.decide_one(&AccessRequest { subject, client_id, action, asked, values });
            if !decision.allowed {
                return decision;
            }
        }
        decision
    }

    /// Whether the broker need not ask about topics at all. Never a device, never a guest.
    pub fn is_superuser(&self, subject: &Subject) -> bool {
        let may_be = matches!(subject.kind, SubjectKind::Service | SubjectKind::User);
        may_be && self.capabilities.as_ref().is_some_and(|capabilities| capabilities.of(subject).superuser)
    }

    /// The rules that deny, in the order of the file.
    pub fn denies(&self) -> &[PolicyRule] {
        &self.denies
    }

    /// The rules that allow, in the order of the file.
    pub fn allows(&self) -> &[PolicyRule] {
        &self.allows
    }

    pub(super) const fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    pub(super) const fn own_topics(&self) -> &BuiltIn {
        &self.built_in
    }

    fn decide_one(&self, question: &AccessRequest<'_>) -> Decision<'_> {
        let AccessRequest { subject, client_id, action, asked, values } = question;
        let denied = |because| Decision::denied(Some(*action), because);
        let is_guest = subject.kind == SubjectKind::Guest;
        if is_guest && let Err(error) = built_in::check_guest(client_id, asked) {
            return denied(Because::Guest(error));
        }
        if let Some(rule) = self.denies.iter().find(|rule| rule.overlaps(subject, *action, asked, values)) {
            return denied(Because::Rule(rule));
        }
        if self.built_in.covers(subject, *action, asked, values) {
            let because = if is_guest { Because::GuestTopics } else { Because::OwnTopics };
            return Decision::allowed(*action, because);
        }
        if is_guest {
            return denied(Because::GuestTopic);
        }
        match self.allowed_by(question) {
            Some(because) if self.is_capable(subject, *action) => Decision::allowed(*action, because),
            Some(_) => denied(Because::NotCapable),
            None => denied(Because::NoRule),
        }
    }

    fn is_capable(&self, subject: &Subject, action: Action) -> bool {
        self.capabilities.as_ref().is_none_or(|capabilities| capabilities.of(subject).actions.has(action))
    }

    fn allowed_by(&self, question: &AccessRequest<'_>) -> Option<Because<'_>> {
        let AccessRequest { subject, action, asked, values, .. } = question;
        if let Some(rule) = self.allows.iter().find(|rule| rule.covers(subject, *action, asked, values)) {
            return Some(Because::Rule(rule));
        }
        if !asked.has_wildcards() {
            return None;
        }
        let speaks = |rule: &&PolicyRule| rule.actions.has(*action) && rule.subjects.include(subject);
        let of_rules = self.allows.iter().filter(speaks).flat_map(|rule| &rule.topics);
        let mut patterns = self.built_in.of(&subject.kind, *action).iter().chain(of_rules).collect();
        pattern::cover_together(&mut patterns, asked, values).then_some(Because::Together)
    }
}
