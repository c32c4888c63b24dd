//! One rule of a policy: its subjects, topics, actions and effect; and the permissions of groups,
//! scopes and kinds.
//!
//! It evaluates one rule at a time; [`super::Policy`] combines them.

use std::collections::{HashMap, HashSet};

use super::effect::Effect;
use super::filter::TopicFilter;
use super::pattern::{Pattern, Values};
use crate::subject::{Subject, SubjectKind};

/// An action on a topic. The numbers are the bits of the broker's `acc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Receive a message.
    Read = 1,
    /// Publish a message.
    Publish = 2,
    /// Subscribe.
    Subscribe = 4,
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u8);

/// One rule of the policy file.
#[derive(Clone, Debug)]
pub struct PolicyRule {
    /// The position among the rules of the file, from 0.
    pub index: usize,
    /// The path in the file, such as `rules[3]`.
    pub place: Box<str>,
    /// The subjects the rule applies to.
    pub subjects: Subjects,
    /// The topics the rule applies to.
    pub topics: Box<[Pattern]>,
    /// The actions the rule applies to.
    pub actions: Actions,
    /// Whether the rule allows or denies.
    pub effect: Effect,
}

/// The subjects of a rule: those that every list contains. `None` contains every subject.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    /// The kinds of subjects.
    pub kinds: Option<Kinds>,
    /// The ids; the id of a device is `<tenant>/device/<device>`.
    pub ids: Option<HashSet<Box<str>>>,
    /// The groups; the subject must be in one of them.
    pub groups: Option<HashSet<Box<str>>>,
    /// The scopes; the subject must have one of them.
    pub scopes: Option<Scopes>,
}

/// A set of kinds of subjects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

/// A list of scopes, some of which may be prefixes.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    exact: HashSet<Box<str>>,
    /// `a.b.` for the pattern `a.b.*`.
    prefixes: Vec<Box<str>>,
}

/// The permissions of a group, a scope or a kind. A rule must allow the action too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capability {
    /// The permitted actions.
    pub actions: Actions,
    /// Whether the subject skips the topic checks of the broker.
    pub superuser: bool,
}

/// The permissions by group, scope and kind.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// By group.
    pub groups: HashMap<Box<str>, Capability>,
    /// By scope.
    pub scopes: HashMap<Box<str>, Capability>,
    /// By kind, in the order of [`Kinds::NAMES`].
    pub kinds: [Capability; Kinds::NAMES.len()],
}

// === impl Action ===

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Subscribe, Self::Read, Self::Publish];

    /// The name in a policy file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

// === impl PolicyRule ===

impl PolicyRule {
    /// Effect, actions and topics in one line.
    pub fn text(&self) -> String {
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let actions: Vec<_> = self.actions.iter().map(Action::name).collect();
        let topics: Vec<_> = self.topics.iter().map(Pattern::text).collect();
        format!("{effect} to {}: {}", actions.join(", "), topics.join("  "))
    }
}

// === impl Actions ===

impl Actions {
    /// Every action.
    pub const ALL: Self = Self(7);

    /// Reads the broker's `acc`. `None` means it names no action, or an unknown one.
    pub const fn from_acc(acc: u8) -> Option<Self> {
        if acc == 0 || acc & !Self::ALL.0 != 0 { None } else { Some(Self(acc)) }
    }

    /// The bit mask of the broker's `acc`.
    pub const fn acc(self) -> u8 {
        self.0
    }

    /// Whether the set is empty.
    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with `action` added.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action as u8)
    }

    /// The actions of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set contains `action`.
    pub const fn has(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }

    /// Whether the set contains all actions of `other`.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The actions of the set.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |&action| self.has(action))
    }
}

// === impl PolicyRule ===

impl PolicyRule {
    /// Whether the rule applies, and one of its patterns covers the whole request.
    pub fn covers(
        &self,
        subject: &Subject,
        action: Action,
        requested: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        let covers = |pattern: &Pattern| pattern.covers(requested, values);
        self.actions.has(action) && self.topics.iter().any(covers) && self.subjects.include(subject)
    }

    /// Whether the rule applies to any requested topic.
    pub fn overlaps(
        &self,
        subject: &Subject,
        action: Action,
        requested: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        let overlaps = |pattern: &Pattern| pattern.overlaps(requested, values);
        self.actions.has(action)
            && self.topics.iter().any(overlaps)
            && self.subjects.include(subject)
    }
}

// === impl Subjects ===

impl Subjects {
    /// Whether the rule applies to `subject`.
    pub fn include(&self, subject: &Subject) -> bool {
        let holds = |list: &HashSet<Box<str>>, value: &str| list.contains(value);
        self.kinds.is_none_or(|kinds| kinds.has(&subject.kind))
            && self.ids.as_ref().is_none_or(|ids| holds(ids, &subject.id))
            && self
                .groups
                .as_ref()
                .is_none_or(|groups| subject.groups.iter().any(|group| holds(groups, group)))
            && self
                .scopes
                .as_ref()
                .is_none_or(|scopes| subject.scopes.iter().any(|scope| scopes.have(scope)))
    }

    /// Whether these subjects include all subjects of `other`.
    pub fn include_all(&self, other: &Self) -> bool {
        let within = |list: Option<&HashSet<Box<str>>>, other: Option<&HashSet<Box<str>>>| {
            list.is_none_or(|list| other.is_some_and(|other| other.is_subset(list)))
        };
        self.kinds.is_none_or(|kinds| other.kinds.is_some_and(|other| kinds.has_all(other)))
            && within(self.ids.as_ref(), other.ids.as_ref())
            && within(self.groups.as_ref(), other.groups.as_ref())
            && self.scopes.as_ref().is_none_or(|scopes| {
                other.scopes.as_ref().is_some_and(|other| scopes.have_all(other))
            })
    }
}

// === impl Kinds ===

impl Kinds {
    /// The names in a policy file.
    pub const NAMES: [&str; 4] = ["device", "service", "user", "guest"];

    /// The set with the kind `name` added. `None` means no kind has this name.
    #[must_use]
    pub fn with(self, name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(self.0 | 1 << index))
    }

    /// Whether the set contains `kind`.
    pub const fn has(self, kind: &SubjectKind) -> bool {
        self.0 & 1 << Self::index(kind) != 0
    }

    /// Whether the set contains all kinds of `other`.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set contains the kind `name`.
    pub fn has_name(self, name: &str) -> bool {
        Self::default().with(name).is_some_and(|one| self.has_all(one))
    }

    /// Whether the kind `name` is the only one in the set.
    pub fn is_only(self, name: &str) -> bool {
        Self::default().with(name) == Some(self)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The position of `kind` in [`Self::NAMES`].
    const fn index(kind: &SubjectKind) -> usize {
        match kind {
            SubjectKind::Device(_) => 0,
            SubjectKind::Service => 1,
            SubjectKind::User => 2,
            SubjectKind::Guest => 3,
        }
    }
}

// === impl Scopes ===

impl Scopes {
    /// Adds a scope; `a.b.*` means every scope that begins with `a.b.`.
    pub fn add(&mut self, scope: &str) {
        match scope.strip_suffix('*').filter(|prefix| prefix.ends_with('.')) {
            Some(prefix) => self.prefixes.push(prefix.into()),
            None => {
                self.exact.insert(scope.into());
            }
        }
    }

    /// The entries as written, sorted.
    pub fn texts(&self) -> Vec<Box<str>> {
        let prefixes = self.prefixes.iter().map(|prefix| format!("{prefix}*").into());
        let mut texts: Vec<Box<str>> = self.exact.iter().cloned().chain(prefixes).collect();
        texts.sort();
        texts
    }

    /// Whether `scope` matches one entry of the list.
    pub fn have(&self, scope: &str) -> bool {
        self.exact.contains(scope)
            || self.prefixes.iter().any(|prefix| scope.starts_with(&**prefix))
    }

    fn have_all(&self, other: &Self) -> bool {
        let has_prefix =
            |text: &str| self.prefixes.iter().any(|prefix| text.starts_with(&**prefix));
        other.exact.iter().all(|scope| self.have(scope))
            && other.prefixes.iter().all(|prefix| has_prefix(prefix))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }
}

// === impl Capability ===

impl Capability {
    /// The permissions of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            actions: self.actions.union(other.actions),
            superuser: self.superuser || other.superuser,
        }
    }
}

// === impl Capabilities ===

impl Capabilities {
    /// The permissions of `subject`, by its kind, its groups and its scopes.
    pub fn of(&self, subject: &Subject) -> Capability {
        let groups = subject.groups.iter().filter_map(|group| self.groups.get(group));
        let scopes = subject.scopes.iter().filter_map(|scope| self.scopes.get(scope));
        groups
            .chain(scopes)
            .fold(self.kinds[Kinds::index(&subject.kind)], |all, one| all.union(*one))
    }

    /// Whether the kind device permits any of `actions`; a device has no groups and no scopes.
    pub fn give_devices(&self, actions: Actions) -> bool {
        actions.iter().any(|action| self.kinds[0].actions.has(action))
    }

    /// The actions that the groups, scopes and kinds named by a rule permit by themselves.
    pub fn named_by(&self, subjects: &Subjects) -> Actions {
        let is_named = |list: Option<&HashSet<Box<str>>>, name: &str| {
            list.is_some_and(|list| list.contains(name))
        };
        let groups =
            self.groups.iter().filter(|(name, _)| is_named(subjects.groups.as_ref(), name));
        let scopes = self
            .scopes
            .iter()
            .filter(|(name, _)| subjects.scopes.as_ref().is_some_and(|scopes| scopes.have(name)));
        let of_tokens = groups.chain(scopes).map(|(_, capability)| *capability);
        of_tokens
            .chain(self.of_kinds(subjects.kinds))
            .fold(Actions::default(), |all, one| all.union(one.actions))
    }

    /// The most actions a subject of these kinds can have, with the best groups and scopes. A
    /// device has neither.
    pub fn best(&self, kinds: Option<Kinds>) -> Actions {
        let has_tokens =
            kinds.is_none_or(|kinds| kinds.has_name("service") || kinds.has_name("user"));
        let of_tokens =
            self.groups.values().chain(self.scopes.values()).copied().filter(|_| has_tokens);
        of_tokens
            .chain(self.of_kinds(kinds))
            .fold(Actions::default(), |best, one| best.union(one.actions))
    }

    fn of_kinds(&self, kinds: Option<Kinds>) -> impl Iterator<Item = Capability> {
        let all = Kinds::NAMES.into_iter().zip(self.kinds);
        all.filter(move |(name, _)| kinds.is_none_or(|kinds| kinds.has_name(name)))
            .map(|(_, capability)| capability)
    }
}
