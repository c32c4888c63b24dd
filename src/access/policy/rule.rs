//! What a rule says: of whom, of which topics, of which actions, and whether it allows or denies; and what groups,
//! scopes and kinds of subjects are capable of at all.
//!
//! It judges one rule at a time; what all of them together say is for [`crate::access::policy`].

use std::collections::{HashMap, HashSet};

use super::effect::Effect;
use super::filter::TopicFilter;
use super::pattern::{Pattern, Values};
use crate::access::hooks::subject::{Subject, SubjectKind};

/// What can be done with a topic. The numbers are the bits of the broker's `acc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// To be delivered a message.
    Read = 1,
    /// To publish one.
    Publish = 2,
    /// To subscribe.
    Subscribe = 4,
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u8);

/// One rule of the policy file.
#[derive(Clone, Debug)]
pub struct PolicyRule {
    /// Which rule of the file it is, from 0.
    pub index: usize,
    /// Where it stands in the file, such as `rules[3]`.
    pub place: Box<str>,
    /// Of whom it speaks.
    pub subjects: Subjects,
    /// Of which topics.
    pub topics: Box<[Pattern]>,
    /// Of which actions.
    pub actions: Actions,
    /// What it does.
    pub effect: Effect,
}

/// Of whom a rule speaks: of those whom every list holds. A list that is none holds everybody.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    /// The kinds of subjects.
    pub kinds: Option<Kinds>,
    /// Their ids; a device's is `<tenant>/device/<device>`.
    pub ids: Option<HashSet<Box<str>>>,
    /// Groups, one of which the subject must be in.
    pub groups: Option<HashSet<Box<str>>>,
    /// Scopes, one of which the subject must have.
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

/// What somebody is capable of; a rule must allow it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capability {
    /// The actions.
    pub actions: Actions,
    /// Whether the broker need not ask about topics at all.
    pub superuser: bool,
}

/// Who is capable of what.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Subscribe, Self::Read, Self::Publish];

    /// As a policy file writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

// === impl Actions ===

impl Actions {
    /// All of them.
    pub const ALL: Self = Self(7);

    /// The broker's `acc`; none when it names no action, or one that is not known.
    pub const fn from_acc(acc: u8) -> Option<Self> {
        if acc == 0 || acc & !Self::ALL.0 != 0 { None } else { Some(Self(acc)) }
    }

    /// As the broker's `acc`.
    pub const fn acc(self) -> u8 {
        self.0
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action as u8)
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds this one.
    pub const fn has(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }

    /// Whether it holds all of these.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |&action| self.has(action))
    }
}

// === impl Rule ===

impl PolicyRule {
    /// Whether it allows this to this subject, by one pattern alone.
    pub(super) fn covers(
        &self,
        subject: &Subject,
        action: Action,
        asked: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        let covers = |pattern: &Pattern| pattern.covers(asked, values);
        self.actions.has(action) && self.topics.iter().any(covers) && self.subjects.include(subject)
    }

    /// Whether it speaks of anything that is asked for.
    pub(super) fn overlaps(
        &self,
        subject: &Subject,
        action: Action,
        asked: &TopicFilter<'_>,
        values: &Values<'_>,
    ) -> bool {
        let overlaps = |pattern: &Pattern| pattern.overlaps(asked, values);
        self.actions.has(action) && self.topics.iter().any(overlaps) && self.subjects.include(subject)
    }
}

// === impl Subjects ===

impl Subjects {
    /// Whether the rule speaks of this one.
    pub fn include(&self, subject: &Subject) -> bool {
        let holds = |list: &HashSet<Box<str>>, value: &str| list.contains(value);
        self.kinds.is_none_or(|kinds| kinds.has(&subject.kind))
            && self.ids.as_ref().is_none_or(|ids| holds(ids, &subject.id))
            && self.groups.as_ref().is_none_or(|groups| subject.groups.iter().any(|group| holds(groups, group)))
            && self.scopes.as_ref().is_none_or(|scopes| subject.scopes.iter().any(|scope| scopes.have(scope)))
    }

    /// Whether the rule speaks of everybody of whom the other speaks.
    pub(super) fn include_all(&self, other: &Self) -> bool {
        let within = |list: Option<&HashSet<Box<str>>>, other: Option<&HashSet<Box<str>>>| {
            list.is_none_or(|list| other.is_some_and(|other| other.is_subset(list)))
        };
        self.kinds.is_none_or(|kinds| other.kinds.is_some_and(|other| kinds.has_all(other)))
            && within(self.ids.as_ref(), other.ids.as_ref())
            && within(self.groups.as_ref(), other.groups.as_ref())
            && self
                .scopes
                .as_ref()
                .is_none_or(|scopes| other.scopes.as_ref().is_some_and(|other| scopes.have_all(other)))
    }
}

// === impl Kinds ===

impl Kinds {
    /// As a policy file writes them.
    pub const NAMES: [&str; 4] = ["device", "service", "user", "guest"];

    /// With the kind of this name; none when there is no such kind.
    #[must_use]
    pub fn with(self, name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(self.0 | 1 << index))
    }

    /// Whether it holds this kind.
    pub const fn has(self, kind: &SubjectKind) -> bool {
        self.0 & 1 << Self::index(kind) != 0
    }

    /// Whether it holds all kinds of the other.
    pub(super) const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds the kind of this name.
    pub(super) fn has_name(self, name: &str) -> bool {
        Self::default().with(name).is_some_and(|one| self.has_all(one))
    }

    /// Whether it holds no other kind than that of this name.
    pub(super) fn is_only(self, name: &str) -> bool {
        Self::default().with(name) == Some(self)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Where this kind stands in [`Self::NAMES`].
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
    /// Adds a scope; `a.b.*` stands for all that begin with `a.b.`.
    pub fn add(&mut self, scope: &str) {
        match scope.strip_suffix('*').filter(|prefix| prefix.ends_with('.')) {
            Some(prefix) => self.prefixes.push(prefix.into()),
            None => {
                self.exact.insert(scope.into());
            }
        }
    }

    /// Whether this scope is one of them.
    pub fn have(&self, scope: &str) -> bool {
        self.exact.contains(scope) || self.prefixes.iter().any(|prefix| scope.starts_with(&**prefix))
    }

    fn have_all(&self, other: &Self) -> bool {
        let has_prefix = |text: &str| self.prefixes.iter().any(|prefix| text.starts_with(&**prefix));
        other.exact.iter().all(|scope| self.have(scope)) && other.prefixes.iter().all(|prefix| has_prefix(prefix))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }
}

// === impl Capability ===

impl Capability {
    /// What either gives.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { actions: self.actions.union(other.actions), superuser: self.superuser || other.superuser }
    }
}

// === impl Capabilities ===

impl Capabilities {
    /// What this subject is capable of, by its kind, its groups and its scopes.
    pub fn of(&self, subject: &Subject) -> Capability {
        let groups = subject.groups.iter().filter_map(|group| self.groups.get(group));
        let scopes = subject.scopes.iter().filter_map(|scope| self.scopes.get(scope));
        groups.chain(scopes).fold(self.kinds[Kinds::index(&subject.kind)], |all, one| all.union(*one))
    }

    /// Whether devices can do any of these without a group and a scope, of which they have none.
    pub(super) fn give_devices(&self, actions: Actions) -> bool {
        actions.iter().any(|action| self.kinds[0].actions.has(action))
    }

    /// What the groups and scopes that a rule names, and its kinds, permit by themselves.
    pub(super) fn named_by(&self, subjects: &Subjects) -> Actions {
        let is_named = |list: Option<&HashSet<Box<str>>>, name: &str| list.is_some_and(|list| list.contains(name));
        let groups = self.groups.iter().filter(|(name, _)| is_named(subjects.groups.as_ref(), name));
        let scopes =
            self.scopes.iter().filter(|(name, _)| subjects.scopes.as_ref().is_some_and(|scopes| scopes.have(name)));
        let of_tokens = groups.chain(scopes).map(|(_, capability)| *capability);
        of_tokens.chain(self.of_kinds(subjects.kinds)).fold(Actions::default(), |all, one| all.union(one.actions))
    }

    /// What anybody of these kinds can be capable of, given the best groups and scopes. A device has neither.
    pub(super) fn best(&self, kinds: Option<Kinds>) -> Actions {
        let has_tokens = kinds.is_none_or(|kinds| kinds.has_name("service") || kinds.has_name("user"));
        let of_tokens = self.groups.values().chain(self.scopes.values()).copied().filter(|_| has_tokens);
        of_tokens.chain(self.of_kinds(kinds)).fold(Actions::default(), |best, one| best.union(one.actions))
    }

    fn of_kinds(&self, kinds: Option<Kinds>) -> impl Iterator<Item = Capability> {
        let all = Kinds::NAMES.into_iter().zip(self.kinds);
        all.filter(move |(name, _)| kinds.is_none_or(|kinds| kinds.has_name(name))).map(|(_, capability)| capability)
    }
}
